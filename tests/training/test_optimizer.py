"""Optimizers and schedules against torch's own and against arithmetic."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from thinkery.training.optimizer import build_optimizer, lr_schedule


class Tiny(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(7, 4)
        self.hidden = nn.Linear(4, 6, bias=False)
        self.norm = nn.LayerNorm(6)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.norm(self.hidden(self.embed_tokens(ids))).square().mean() + self.hidden.weight.sum()


@pytest.fixture
def model() -> Tiny:
    torch.manual_seed(0)
    return Tiny()


def train(model: Tiny, optimizer: object, steps: int) -> None:
    for _ in range(steps):
        model(torch.arange(7)).backward()
        optimizer.step()
        optimizer.zero_grad()


def test_adamw_is_torchs_and_decays_matrices_only(model: Tiny) -> None:
    other = copy.deepcopy(model)
    matrices = [other.embed_tokens.weight, other.hidden.weight]
    groups = [
        {"params": matrices, "weight_decay": 0.1},
        {"params": list(other.norm.parameters()), "weight_decay": 0.0},
    ]
    train(model, build_optimizer(model, "adamw", 1e-2, weight_decay=0.1), 5)
    train(other, torch.optim.AdamW(groups, lr=1e-2, betas=(0.9, 0.95)), 5)
    for one, two in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(one, two)


def test_muon_takes_the_hidden_matrices_and_nothing_else(model: Tiny) -> None:
    muon, adamw = build_optimizer(model, "muon", 1e-2).optimizers
    assert [p is model.hidden.weight for group in muon.param_groups for p in group["params"]] == [True]
    assert sum(len(group["params"]) for group in adamw.param_groups) == 3


def test_a_restored_state_goes_on_bit_for_bit(model: Tiny) -> None:
    optimizer = build_optimizer(model, "muon", 1e-2)
    train(model, optimizer, 3)
    other = copy.deepcopy(model)
    restored = build_optimizer(other, "muon", 1e-2)
    restored.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    train(model, optimizer, 3)
    train(other, restored, 3)
    for one, two in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(one, two)


def test_the_scale_applies_to_every_rate(model: Tiny) -> None:
    optimizer = build_optimizer(model, "muon", 1e-2, muon_learning_rate=0.2)
    optimizer.set_lr_scale(0.5)
    optimizer.set_lr_scale(0.25)  # of the base rates, not of the last ones
    assert [group["lr"] for one in optimizer.optimizers for group in one.param_groups] == [0.05, 0.0025, 0.0025]


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("constant", [0.5, 1, 1, 1, 1, 1]),
        ("linear", [0.5, 1, 1, 0.75, 0.5, 0.25]),
        ("cosine", [0.5, 1, 1, 0.853553, 0.5, 0.146447]),
    ],
)
def test_schedules(kind: str, expected: list[float]) -> None:
    scale = lr_schedule(kind, total_steps=6, warmup_steps=2)
    assert [scale(step) for step in range(6)] == pytest.approx(expected, abs=1e-6)
    assert lr_schedule("cosine", 10, floor=0.1)(10) == pytest.approx(0.1)
