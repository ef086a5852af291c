"""Whether two revisions of the code train the same models: every method with tiny settings, compared byte by byte.

A change of structure must not change a result. For each row below this trains with the code of a revision and with the
code in the working tree, on the same small synthetic crops, and compares ``metrics.jsonl`` and ``model.safetensors``.

    python benchmarks/same_results.py HEAD~20
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from hashlib import sha256
from pathlib import Path

import numpy as np
from PIL import Image

#: Settings under which a run takes seconds; ``{source}`` is the run of the row ``supervised``.
TINY = (
    "encoder.backbone=resnet18 encoder.weights=none encoder.width_multiplier=0.25 encoder.height=32 encoder.width=16 "
    "encoder.last_stride=1 augmentation.pad=2 sampling.clusters=4 sampling.crops=4 sampling.iterations=6 "
    "epochs=4 evaluate_every=2 keep_every=2 precision=float32"
)
JACCARD = "clustering.k1=8 clustering.k2=3 clustering.eps=0.6"
MAR = (
    "sampling.order=crops sampling.clusters=16 sampling.crops=1 sampling.source_crops=12 sampling.source_apart=true "
    "encoder.freeze_norms=false optimizer.lr=1e-3"
)
#: Name, method, what the command gets.
ROWS: tuple[tuple[str, str, str], ...] = (
    ("supervised", "supervised", TINY),
    ("supervised, softmax over cosines", "supervised", f"{TINY} method.softmax_scale=8 method.triplet_weight=0"),
    ("cluster_contrast", "cluster_contrast", f"{TINY} {JACCARD}"),
    (
        "cluster_contrast with cameras and a teacher",
        "cluster_contrast",
        f"{TINY} {JACCARD} clustering.centre_cameras=true sampling.prefer_other_cameras=true method.camera_weight=0.5 "
        "method.update=hard ema.decay=0.9 embed_flip=true",
    ),
    ("cluster_contrast, bfloat16", "cluster_contrast", f"{TINY} {JACCARD} precision=bfloat16"),
    ("pplr", "pplr", f"{TINY} {JACCARD} encoder.height=64 encoder.parts=2 method.agreement_k=8 method.warmup_epochs=1"),
    (
        "pplr with cameras and fixed classifiers",
        "pplr",
        f"{TINY} {JACCARD} encoder.height=64 encoder.parts=3 method.agreement_k=8 method.warmup_epochs=1 "
        "method.classifier_rows=60 method.camera_weight=0.5 clustering.centre_cameras=true",
    ),
    ("dcmip", "dcmip", f"{TINY} {JACCARD} method.first_epochs=2 ema.decay=0.9 ema.restart=true"),
    (
        "dcmip, both proxies summed",
        "dcmip",
        f"{TINY} {JACCARD} method.first_epochs=0 method.cluster_form=sum method.instance_encoder=encoder "
        "ema.decay=null ema.restart=false",
    ),
    (
        "idl_acl",
        "idl_acl",
        f"{TINY} sampling.order=crops sampling.clusters=32 sampling.crops=1 sampling.iterations=0 "
        "method.first_epochs=2 method.stage_epochs=1 method.merge_share=0.2",
    ),
    (
        "idl_acl, BUC",
        "idl_acl",
        f"{TINY} --recipe buc sampling.iterations=0 method.first_epochs=1 method.stage_epochs=1 method.merge_share=0.2",
    ),
    (
        "adtc",
        "adtc",
        f"{TINY} clustering.k1=8 clustering.k2=3 method.clusters=12 method.round_epochs=2 method.settled=null "
        "method.components=16 encoder.attention=voxel encoder.voxel_units=32",
    ),
    (
        "adtc from a source",
        "adtc",
        f"{TINY} clustering.k1=8 clustering.k2=3 method.clusters=12 method.round_epochs=2 method.settled=0.1 "
        "method.components=16 encoder.attention=none encoder.pooling=gem encoder.weights={source}",
    ),
    ("mar", "mar", f"{TINY} --source {{crops}}-2 {MAR}"),
    (
        "mar, one pass, memory on disk",
        "mar",
        f"{TINY} --source {{crops}}-2 {MAR} sampling.source_apart=false method.memory_gb=0",
    ),
)


def paint(folder: Path, seed: int, identities: int, cameras: int = 3, shots: int = 3) -> None:
    """Writes crops named as Market-1501's: two-coloured figures with a colour cast for each camera, and noise."""
    rng = np.random.default_rng(seed)
    folder.mkdir()
    colours, casts = rng.uniform(40, 215, (identities, 2, 3)), rng.uniform(0.7, 1.3, (cameras, 3))
    for identity, camera, shot in np.ndindex(identities, cameras, shots):
        image = np.full((32, 16, 3), 128.0)
        image[2:16, 2:-2], image[16:-2, 2:-2] = colours[identity]
        image = image * casts[camera] + rng.normal(0, 25, image.shape)
        name = f"{identity + 1:04d}_c{camera + 1}s1_{shot:06d}_01.png"
        Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(folder / name)


def digests(run: Path) -> dict[str, str]:
    """Hashes of what a run computed."""
    names = ("metrics.jsonl", "model.safetensors")
    return {name: sha256((run / name).read_bytes()).hexdigest() for name in names}


def train(code: Path, method: str, words: list[str], crops: Path, out: Path) -> dict[str, str]:
    """Trains with the package in a folder of code; returns the hashes."""
    command = [sys.executable, "-m", "resight", "train", method, "--data", str(crops), "--out", str(out), *words]
    command += ["--train-identities", "20", "--quiet"]
    environment = os.environ | {"PYTHONPATH": str(code / "src")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stderr}")
    return digests(out)


def main() -> None:
    """Compares what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("revision", help="of this repository, to compare the working tree with")
    parser.add_argument("--only", default="", help="rows whose name contains this")
    options = parser.parse_args()
    here = Path(__file__).resolve().parents[1]
    different = 0
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        old = folder / "old"
        subprocess.run(["git", "worktree", "add", "--quiet", "--detach", old, options.revision], cwd=here, check=True)
        try:
            crops = folder / "crops"
            paint(crops, 0, 30)
            paint(folder / "crops-2", 1, 20)
            for name, method, text in ROWS:
                if options.only not in name and name != "supervised":
                    continue
                found = []
                for side, code in (("before", old), ("after", here)):
                    words = text.format(source=folder / side / "supervised", crops=crops).split()
                    found.append(train(code, method, words, crops, folder / side / name.replace(" ", "-")))
                changed = [file for file in found[0] if found[0][file] != found[1][file]]
                different += bool(changed)
                print(f"{name:45} {'other ' + ', '.join(changed) if changed else 'the same'}", flush=True)
        finally:
            subprocess.run(["git", "worktree", "remove", "--force", old], cwd=here, check=True)
    print(f"{different} rows differ" if different else "all results are the same, byte for byte")
    sys.exit(bool(different))


if __name__ == "__main__":
    main()
