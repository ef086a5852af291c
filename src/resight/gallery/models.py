"""Which model a gallery's embeddings are of."""

from __future__ import annotations

import json
from hashlib import blake2b
from pathlib import Path

from resight.errors import ResightError
from resight.model import Model, load


def fingerprint_of(model: Model) -> str:
    """A hash of all that an embedding depends on: architecture, weights, and whether mirror images are added."""
    hasher = blake2b(digest_size=20)
    encoder = model.config.encoder.model_dump(mode="json")
    for name in ("weights", "start", "init_from"):  # where the first weights came from
        encoder.pop(name, None)
    settings = {"encoder": encoder, "flip": model.config.embed_flip}
    hasher.update(json.dumps(settings, sort_keys=True).encode())
    for name, tensor in sorted(model.encoder.state_dict().items()):
        hasher.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        hasher.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return hasher.hexdigest()


def load_same(run: str, fingerprint: str, device: str, gallery: str) -> Model:
    """Loads the model of a gallery.

    Raises:
        ResightError: the run is not there, or its weights are not those that embedded the sightings.
    """
    if not Path(run).is_dir():
        raise ResightError(
            f"The model of {gallery} is the run {run}, which is not there: name the folder to which it was moved with "
            "--run RUN."
        )
    model = load(run, device)
    if fingerprint_of(model) != fingerprint:
        raise ResightError(
            f"The weights of the run {run} are not those that embedded the sightings of {gallery}, so the two cannot "
            f"be compared: bring the old weights back, or embed all sightings anew with 'resight gallery migrate "
            f"{gallery} --to {run}'."
        )
    return model
