"""Counter-based random numbers against splitmix64 in unbounded integers."""

from __future__ import annotations

import torch

from thinkery.rollout.base import completion_key, uniforms

WORD = (1 << 64) - 1


def splitmix64(state: int) -> int:
    state = (state + 0x9E3779B97F4A7C15) & WORD
    state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & WORD
    state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & WORD
    return state ^ (state >> 31)


def test_equals_splitmix64() -> None:
    keys = [0, 1, -1, 2**63 - 1, -(2**63), completion_key(0, "zero", 3, "p", 1)]
    positions = [0, 1, 2, 1000, 2**31]
    got = uniforms(torch.tensor(keys)[:, None], torch.tensor(positions))
    want = [[(splitmix64(key + p * 0x9E3779B97F4A7C15) >> 11) / 2**53 for p in positions] for key in keys]
    assert got.tolist() == want


def test_the_published_sequence() -> None:
    """The first outputs of the reference implementation for seed 1234567."""
    first = [6457827717110365317, 3203168211198807973, 9817491932198370423]
    assert uniforms(torch.tensor(1234567), torch.arange(3)).tolist() == [(value >> 11) / 2**53 for value in first]


def test_keys_differ_in_every_part() -> None:
    base = (0, "zero", 1, "p1", 2)
    others = [(1, "zero", 1, "p1", 2), (0, "r1", 1, "p1", 2), (0, "zero", 2, "p1", 2), (0, "zero", 1, "p", 12)]
    assert len({completion_key(*parts) for parts in [base, *others, (0, "zero", 1, "p1", 3)]}) == 6


def test_uniform_and_unrelated() -> None:
    keys = torch.tensor([completion_key(0, "zero", 0, "p", index) for index in range(200)])
    u = uniforms(keys[:, None], torch.arange(500))
    counts = torch.histc(u.float(), 100, 0, 1)
    expected = u.numel() / 100
    assert ((counts - expected) ** 2 / expected).sum() < 150  # chi-square, 99 degrees of freedom: mean 99, sd 14
    neighbours = torch.corrcoef(torch.stack([u[:, :-1].flatten(), u[:, 1:].flatten()]))[0, 1]
    assert abs(neighbours) < 0.015
