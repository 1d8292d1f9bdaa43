"""Random numbers that are counted, not carried.

A completion has one key, from (seed, stage, step, problem, index); its number at a position is a hash of key and
position. So a draw depends on nothing else: not on the batch, the order, the slot or an earlier run.
Left out: other distributions than the uniform one.
"""

from __future__ import annotations

import hashlib
import json

import torch

_GOLDEN = 0x9E3779B97F4A7C15
_MIX_1, _MIX_2 = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB


def completion_key(seed: int, stage: str, step: int, problem_id: str, index: int) -> int:
    """The key of one completion, as a signed 64-bit integer (torch has no unsigned arithmetic)."""
    named = json.dumps([seed, stage, step, problem_id, index])  # unambiguous where joined strings would not be
    return int.from_bytes(hashlib.blake2b(named.encode(), digest_size=8).digest(), "big", signed=True)


def uniforms(keys: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    """int64 keys and positions, broadcast against one another -> float64 in [0, 1), 53 random bits each.

    splitmix64 (Steele, Lea and Flood, OOPSLA 2014): the key is the generator's state and the position the number of
    steps it has taken. int64 products wrap around, as the unsigned ones of the paper do.
    """
    state = scramble(keys + (positions + 1) * _signed(_GOLDEN))
    return _shift_right(state, 11).double() * 2.0**-53


def scramble(state: torch.Tensor) -> torch.Tensor:
    """splitmix64's mixing of int64 numbers, one to one; 0 stays 0."""
    state = (state ^ _shift_right(state, 30)) * _signed(_MIX_1)
    state = (state ^ _shift_right(state, 27)) * _signed(_MIX_2)
    return state ^ _shift_right(state, 31)


def _signed(constant: int) -> int:
    return constant - (1 << 64) if constant >= 1 << 63 else constant


def _shift_right(values: torch.Tensor, bits: int) -> torch.Tensor:
    """The logical shift: torch's own keeps the sign."""
    return (values >> bits) & ((1 << (64 - bits)) - 1)
