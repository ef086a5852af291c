"""Learning rates by hand, and which parameters the optimiser decays."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from resight.training.optim import OptimizerConfig, build_optimizer, learning_rate_factor, renew_parameters


@pytest.mark.parametrize(
    ("epoch", "factor"), [(0, 1), (19, 1), (19.99, 1), (20, 0.1), (39.5, 0.1), (40, 0.01), (49, 0.01)]
)
def test_step(epoch: float, factor: float) -> None:
    assert learning_rate_factor(OptimizerConfig(schedule="step"), epoch, 50) == pytest.approx(factor)


def test_step_of_other_length_and_height() -> None:
    config = OptimizerConfig(schedule="step", step_epochs=3, step_factor=0.5)
    factors = [learning_rate_factor(config, epoch, 8) for epoch in range(8)]
    assert factors == [1, 1, 1, 0.5, 0.5, 0.5, 0.25, 0.25]


def test_steps_at_named_epochs() -> None:
    config = OptimizerConfig(schedule="step", step_epochs=(2, 5), step_factor=0.1)
    factors = [learning_rate_factor(config, epoch, 8) for epoch in (0, 1.9, 2, 4.5, 5, 7)]
    assert factors == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])


@pytest.mark.parametrize("steps", [0, [25, 0], "never"])
def test_steps_are_epochs_from_one(steps: object) -> None:
    with pytest.raises(ValidationError):
        OptimizerConfig(step_epochs=steps)  # type: ignore[arg-type]


@pytest.mark.parametrize("epoch", [0, 0.5, 30, 50])
def test_constant(epoch: float) -> None:
    assert learning_rate_factor(OptimizerConfig(schedule="constant"), epoch, 50) == 1


@pytest.mark.parametrize(
    ("epoch", "factor"), [(0, 1), (10, 1), (20, 0.01 + 0.99 * 0.75), (25, 0.505), (30, 0.01 + 0.99 * 0.25), (40, 0.01)]
)
def test_cosine_from_an_epoch_on(epoch: float, factor: float) -> None:
    # between epochs 10 and 40 a third of the way is cos 60° = ½, so (1 + ½) / 2 of the fall is left
    config = OptimizerConfig(schedule="cosine", decay_from=10, final_factor=0.01)
    assert learning_rate_factor(config, epoch, 40) == pytest.approx(factor)


@pytest.mark.parametrize(("epoch", "factor"), [(0, 1), (100, 1), (150, 0.001**0.5), (200, 0.001), (175, 0.001**0.75)])
def test_exponential_from_an_epoch_on(epoch: float, factor: float) -> None:
    config = OptimizerConfig(schedule="exponential", decay_from=100, final_factor=0.001)
    assert learning_rate_factor(config, epoch, 200) == pytest.approx(factor)


@pytest.mark.parametrize("schedule", ["cosine", "exponential"])
def test_decay_that_would_begin_after_the_end_never_begins(schedule: str) -> None:
    config = OptimizerConfig(schedule=schedule, decay_from=60)  # type: ignore[arg-type]
    assert [learning_rate_factor(config, epoch, 50) for epoch in (0, 25, 50)] == [1, 1, 1]


@pytest.mark.parametrize(("epoch", "factor"), [(0, 0.1), (2.5, 0.325), (5, 0.55), (9.999, 0.99991), (10, 1), (11, 1)])
def test_warm_up_grows_from_a_tenth(epoch: float, factor: float) -> None:
    config = OptimizerConfig(schedule="constant", warmup_epochs=10)
    assert learning_rate_factor(config, epoch, 50) == pytest.approx(factor)


def test_warm_up_multiplies_the_schedule() -> None:
    config = OptimizerConfig(schedule="step", step_epochs=2, step_factor=0.5, warmup_epochs=4)
    assert learning_rate_factor(config, 3, 50) == pytest.approx(0.5 * (0.1 + 0.9 * 3 / 4))


def net() -> nn.Sequential:
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 2))
    module[1].bias.requires_grad_(False)
    return module


@pytest.mark.parametrize("decay_norms", [True, False])
@pytest.mark.parametrize(("name", "kind"), [("adam", torch.optim.Adam), ("sgd", torch.optim.SGD)])
def test_every_trainable_parameter_is_in_one_group_and_norms_decay_as_asked(
    decay_norms: bool, name: str, kind: type[torch.optim.Optimizer]
) -> None:
    module = net()
    config = OptimizerConfig(name=name, lr=0.02, weight_decay=0.3, momentum=0.8, decay_norms=decay_norms)  # type: ignore[arg-type]
    optimizer = build_optimizer(config, module)
    assert type(optimizer) is kind
    decay = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(decay)
    low = 0.3 if decay_norms else 0.0
    expected = {
        "0.weight": 0.3,
        "0.bias": low,
        "1.weight": low,
        "2.weight": 0.3,
        "2.bias": low,
    }
    named = {name: p for name, p in module.named_parameters() if p.requires_grad}
    assert {name: decay[id(p)] for name, p in named.items()} == expected
    assert len(decay) == len(expected)
    assert all(group["lr"] == 0.02 for group in optimizer.param_groups)
    if name == "sgd":
        assert all(group["momentum"] == 0.8 for group in optimizer.param_groups)


def test_a_step_of_sgd_by_hand() -> None:
    module = nn.Linear(1, 1)
    nn.init.constant_(module.weight, 2.0)
    nn.init.constant_(module.bias, 1.0)
    config = OptimizerConfig(name="sgd", lr=0.1, weight_decay=0.5, momentum=0, decay_norms=False)
    optimizer = build_optimizer(config, module)
    module(torch.tensor([[3.0]])).sum().backward()
    optimizer.step()
    assert module.weight.item() == pytest.approx(2 - 0.1 * (3 + 0.5 * 2))
    assert module.bias.item() == pytest.approx(1 - 0.1 * 1)


@pytest.mark.parametrize("wrong", [{"lr": 0}, {"momentum": 1}, {"schedule": "poly"}, {"learning_rate": 0.1}])
def test_impossible_settings_are_rejected(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        OptimizerConfig(**wrong)  # type: ignore[arg-type]


def test_a_backbone_may_learn_more_slowly() -> None:
    module = nn.ModuleDict({"encoder": nn.ModuleDict({"backbone": nn.Linear(3, 2), "neck": nn.BatchNorm1d(2)})})
    plain = build_optimizer(OptimizerConfig(name="sgd"), module)
    assert {group["factor"] for group in plain.param_groups} == {1.0}
    slow = build_optimizer(OptimizerConfig(name="sgd", backbone_factor=0.1, decay_norms=False), module)
    backbone = module["encoder"]["backbone"]
    found = {id(p): (g["factor"], g["weight_decay"]) for g in slow.param_groups for p in g["params"]}
    assert found[id(backbone.weight)] == (0.1, 5e-4)
    assert found[id(backbone.bias)] == (0.1, 0.0)
    assert found[id(module["encoder"]["neck"].weight)] == (1.0, 0.0)
    assert len(found) == 4


def test_nesterov_needs_momentum_and_is_passed_on() -> None:
    module = nn.Linear(2, 2)
    assert build_optimizer(OptimizerConfig(name="sgd", nesterov=True), module).defaults["nesterov"] is True
    assert build_optimizer(OptimizerConfig(name="sgd"), module).defaults["nesterov"] is False
    with pytest.raises(ValidationError, match="momentum"):
        OptimizerConfig(name="sgd", nesterov=True, momentum=0)


@pytest.mark.parametrize("name", ["adam", "sgd"])
def test_a_parameter_that_replaces_another_starts_without_a_past(name: str) -> None:
    config = OptimizerConfig(name=name, decay_norms=False)  # type: ignore[arg-type]
    module = net()
    optimizer = build_optimizer(config, module)

    def step() -> None:
        optimizer.zero_grad()
        sum((p**2).sum() for p in module.parameters() if p.requires_grad).backward()
        optimizer.step()

    step()
    gone, kept = module[2].weight, module[0].weight
    module[2].weight = nn.Parameter(torch.ones(5, 3))
    renew_parameters(optimizer, config, module)
    assert gone not in optimizer.state
    assert module[2].weight not in optimizer.state
    assert kept in optimizer.state
    before = gone.clone()
    step()
    assert torch.equal(gone, before)
    assert not torch.equal(module[2].weight, torch.ones(5, 3))
    held = [p for group in optimizer.param_groups for p in group["params"]]
    assert {id(p) for p in held} == {id(p) for p in module.parameters() if p.requires_grad}
    again = build_optimizer(config, module)
    again.load_state_dict(optimizer.state_dict())


def test_renewing_what_did_not_change_changes_nothing() -> None:
    module, config = net(), OptimizerConfig(decay_norms=False)
    optimizer = build_optimizer(config, module)
    before = [(group["weight_decay"], [id(p) for p in group["params"]]) for group in optimizer.param_groups]
    renew_parameters(optimizer, config, module)
    assert [(group["weight_decay"], [id(p) for p in group["params"]]) for group in optimizer.param_groups] == before
