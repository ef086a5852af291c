"""The EMA teacher against its formula, number by number."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from resight.training.teacher import EMATeacher


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))


def train(module: nn.Module, step: int) -> None:
    """One step that moves weights, running statistics and the step counter."""
    module.train()
    module(torch.randn(8, 3, generator=torch.Generator().manual_seed(step))).square().sum().backward()
    with torch.no_grad():
        for p in module.parameters():
            p -= 0.05 * p.grad  # type: ignore[operator]
            p.grad = None


@pytest.mark.parametrize("decay", [0.999, 0.5, 0.0])
def test_equals_the_formula_including_norm_statistics(decay: float) -> None:
    module = net()
    teacher = EMATeacher(module, decay)
    expected = {name: value.double() for name, value in module.state_dict().items()}
    for step in range(15):
        train(module, step)
        teacher.update(module)
        now = min(decay, (1 + step) / (10 + step))
        for name, value in module.state_dict().items():
            if name == "1.num_batches_tracked":
                expected[name] = value.double()
            else:
                expected[name] = now * expected[name] + (1 - now) * value.double()
    found = teacher.module.state_dict()
    assert found["1.num_batches_tracked"].item() == 15
    assert teacher.steps == 15
    for name, value in expected.items():
        torch.testing.assert_close(found[name].double(), value, rtol=1e-5, atol=1e-6)
    assert not torch.equal(found["1.running_mean"], torch.zeros(4))


def test_first_step_goes_nine_tenths_of_the_way_whatever_the_decay() -> None:
    module = net()
    start = module[0].weight.detach().clone()
    teacher = EMATeacher(module, 0.9999)
    train(module, 0)
    teacher.update(module)
    torch.testing.assert_close(teacher.module[0].weight, 0.1 * start + 0.9 * module[0].weight.detach())


def test_the_cap_ends_where_it_meets_the_decay() -> None:
    module = nn.Linear(1, 1, bias=False)
    teacher = EMATeacher(module, 0.5)
    for steps, share_kept in [(6, 7 / 16), (8, 0.5), (1000, 0.5)]:  # (1+8)/(10+8) = 0.5
        teacher.steps = steps
        nn.init.constant_(teacher.module.weight, 1.0)
        nn.init.constant_(module.weight, 0.0)
        teacher.update(module)
        assert teacher.module.weight.item() == pytest.approx(share_kept)


def test_the_teacher_is_a_frozen_copy_in_evaluation_mode() -> None:
    module = net().train()
    teacher = EMATeacher(module, 0.9)
    assert not any(m.training for m in teacher.module.modules())
    assert not any(p.requires_grad for p in teacher.module.parameters())
    assert module.training
    assert all(p.requires_grad for p in module.parameters())
    before = {name: value.clone() for name, value in teacher.module.state_dict().items()}
    train(module, 0)
    assert all(torch.equal(value, before[name]) for name, value in teacher.module.state_dict().items())


def test_update_leaves_the_module_alone() -> None:
    module = net()
    teacher = EMATeacher(module, 0.9)
    train(module, 0)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    teacher.update(module)
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


def test_without_warmup_the_first_step_has_the_full_decay() -> None:
    module = net()
    start = {name: value.clone() for name, value in module.state_dict().items()}
    teacher = EMATeacher(module, 0.999, warmup=False)
    for step in range(2):
        train(module, step)
        teacher.update(module)
        for name, value in module.state_dict().items():
            start[name] = 0.999 * start[name] + 0.001 * value if value.is_floating_point() else value.clone()
    for name, value in teacher.module.state_dict().items():
        torch.testing.assert_close(value, start[name])


def test_restarted_it_is_a_copy_that_goes_its_own_way() -> None:
    module = net()
    teacher = EMATeacher(module, 0.9, warmup=False)
    for step in range(3):
        train(module, step)
        teacher.update(module)
    teacher.restart(module)
    copied = {name: value.clone() for name, value in module.state_dict().items()}
    assert all(torch.equal(value, copied[name]) for name, value in teacher.module.state_dict().items())
    train(module, 4)
    assert all(torch.equal(value, copied[name]) for name, value in teacher.module.state_dict().items())
    assert not any(p.requires_grad for p in teacher.module.parameters())
    teacher.update(module)
    expected = 0.9 * copied["1.running_mean"] + 0.1 * module.state_dict()["1.running_mean"]
    torch.testing.assert_close(teacher.module.state_dict()["1.running_mean"], expected)
