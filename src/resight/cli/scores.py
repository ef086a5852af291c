"""Commands that score models: ``evaluate`` and ``transfer``."""

from __future__ import annotations

import json
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from resight.cli.options import (
    CacheOption,
    DataOption,
    DeviceOption,
    EpochOption,
    FlipOption,
    FormatOption,
    JsonOption,
    QuietOption,
    RunArgument,
    SplitOption,
    given_path,
    read,
    reporter,
)


class APConvention(str, Enum):
    """How average precision is computed."""

    standard = "standard"
    trapezoidal = "trapezoidal"


def evaluate(
    run: RunArgument,
    data: DataOption,
    format: FormatOption = "auto",
    train_identities: SplitOption = None,
    epoch: EpochOption = None,
    ap: Annotated[
        APConvention,
        typer.Option(
            "--ap",
            metavar="FORM",
            help="Average precision: 'standard', or 'trapezoidal' as in Market-1501's MATLAB code.",
        ),
    ] = APConvention.standard,
    rerank: Annotated[bool, typer.Option("--rerank", help="Re-rank by k-reciprocal neighbours.")] = False,
    k1: Annotated[int, typer.Option(metavar="N", help="Neighbours in re-ranking.")] = 20,
    k2: Annotated[int, typer.Option(metavar="N", help="Neighbours averaged in re-ranking.")] = 6,
    lam: Annotated[
        float, typer.Option("--lambda", metavar="X", help="Weight of the original distance in re-ranking.")
    ] = 0.3,
    clustering: Annotated[
        bool,
        typer.Option("--clustering", help="Also cluster the test crops and compare the clusters with the identities."),
    ] = False,
    flip: FlipOption = None,
    device: DeviceOption = "auto",
    cache: CacheOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Score a trained model on labelled query and gallery crops.

    Example: **resight evaluate runs/first --data Market-1501-v15.09.15 --rerank**
    """
    from resight.cli.tables import print_scores

    with reporter(quiet) as report:
        from resight.evaluation import RerankOptions
        from resight.model import load
        from resight.scoring import evaluate as evaluate_model

        options = RerankOptions(k1=k1, k2=k2, lam=lam)  # checked before the model is loaded
        model = load(run, device, epoch=epoch)
        table = read(data, format, train_identities)
        scores = evaluate_model(
            model,
            table,
            ap=ap.value,
            rerank=options if rerank else None,
            flip=flip,
            clustering=clustering,
            cache=cache,
            progress=report.progress,
        )
    assert model.run is not None
    scores |= model.run.facts(epoch)
    if as_json:
        print(json.dumps(scores))
    else:
        print_scores(scores, f"Retrieval, epoch {epoch}" if epoch else "Retrieval, last epoch")


def transfer(
    source: Annotated[
        Path, typer.Argument(parser=given_path, metavar="SOURCE", help="The run folder of the source model.")
    ],
    source_data: Annotated[
        Path,
        typer.Option(
            "--source-data",
            parser=given_path,
            metavar="PATH",
            help="The labelled data that model was trained on.",
            show_default=False,
        ),
    ],
    data: Annotated[
        Path,
        typer.Option(
            "--data", parser=given_path, metavar="PATH", help="The target: other labelled data.", show_default=False
        ),
    ],
    adapted: Annotated[
        list[Path] | None,
        typer.Argument(
            parser=given_path,
            metavar="ADAPTED",
            help="Run folders of models trained on the target.",
            show_default=False,
        ),
    ] = None,
    source_format: Annotated[str, typer.Option(metavar="NAME", help="Format of the source, as for --format.")] = "auto",
    source_identities: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help="Divide the source by identity, as for --train-identities.", show_default=False
        ),
    ] = None,
    format: FormatOption = "auto",
    train_identities: SplitOption = None,
    flip: FlipOption = None,
    device: DeviceOption = "auto",
    cache: CacheOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Score a source model on its own data and on a target, before and after adaptation.

    Example: **resight transfer runs/source runs/adapted --source-data dukemtmc --data market1501**
    """
    from resight.cli.tables import print_text, print_transfer
    from resight.sentences import describe_model

    with reporter(quiet) as report:
        from resight.model import load
        from resight.transfer import transfer_report

        models = [load(run, device) for run in (source, *(adapted or []))]
        tables = read(source_data, source_format, source_identities), read(data, format, train_identities)
        rows = transfer_report(models[0], *tables, models[1:], flip=flip, cache=cache, progress=report.progress)
    if as_json:
        print(json.dumps(rows))
        return
    print_transfer(rows, source_data.name, data.name)
    for model in models[1:]:
        assert model.run is not None
        config = model.config
        print_text(describe_model(str(model.run.path), config.method.name, config.encoder.weights, model.run.facts()))
