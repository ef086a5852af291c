"""What a run costs on a machine."""

from __future__ import annotations

import pytest

from resight.bench import cost_rows, measure
from resight.errors import ResightError
from resight.methods import METHODS
from resight.training.config import build_config

#: What makes each method do all that it can in a few crops.
MORE: dict[str, dict[str, object]] = {
    "pplr": {"encoder.height": 64, "encoder.parts": 2},
    "idl_acl": {"sampling.order": "crops"},
    "mar": {"sampling.order": "crops", "encoder.freeze_norms": False},
}


@pytest.mark.parametrize("method", METHODS)
def test_every_method_has_a_cost(method: str, tiny: dict[str, object]) -> None:
    config = build_config(method, "default", tiny | {"sampling.iterations": 7, **MORE.get(method, {})})
    cost = measure(config, crops=300, steps=2, device="cpu")
    needs = METHODS[method].needs(config.method)
    assert cost.batch == 16 * needs.views + (config.sampling.source_crops or 16) * needs.source
    assert cost.train_images == pytest.approx(cost.batch / cost.step_seconds["all"])
    assert cost.step_seconds["augment"] > 0
    assert 0 < cost.train_use < 2
    assert 0 < cost.embed_use < 2
    assert cost.epoch_seconds >= 7 * cost.step_seconds["all"]
    assert cost.run_seconds == pytest.approx(cost.epoch_seconds * config.epochs)
    assert cost.peak_bytes > 0
    assert dict(cost_rows(cost))["an epoch of 7 steps"]
    assert set(cost.to_dict()) == set(vars(cost))


def test_slow_arithmetic_is_advised_against(tiny: dict[str, object], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resight.bench.fast_bfloat16", lambda _: False)
    monkeypatch.setattr("resight.bench._product_rate", lambda *_: 1e9)
    cost = measure(build_config("supervised", "default", tiny | {"precision": "bfloat16"}), crops=200, steps=1)
    assert any("precision=float32 is many times faster" in sentence for sentence in cost.advice)


def test_too_few_crops_are_a_sentence(tiny: dict[str, object]) -> None:
    with pytest.raises(ResightError, match="crops"):
        measure(build_config("supervised", "default", tiny), crops=3)
