"""Weights on their way: a model cut into buckets, and a model filled from them.

A bucket is some tensors with their names, as arrays that Ray hands over in shared memory without a copy. Left out: how
sharded weights are put together (``sharded.py``), and who sends which bucket to whom (``transfer.py``).
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Bucket:
    """Named tensors of one model. ``arrays`` are NumPy's, which knows no bfloat16: that travels as int16."""

    names: tuple[str, ...]
    dtypes: tuple[str, ...]
    arrays: tuple[Any, ...]

    @classmethod
    def of(cls, tensors: Iterable[tuple[str, Tensor]]) -> Bucket:
        """From tensors on any device."""
        named = [(name, tensor.detach().cpu().contiguous()) for name, tensor in tensors]
        return cls(
            tuple(name for name, _ in named),
            tuple(str(tensor.dtype).removeprefix("torch.") for _, tensor in named),
            tuple((t.view(torch.int16) if t.dtype is torch.bfloat16 else t).numpy() for _, t in named),
        )

    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        """The tensors, on the CPU. They share the bucket's memory: read only."""
        for name, dtype, array in zip(self.names, self.dtypes, self.arrays, strict=True):
            with warnings.catch_warnings():  # that shared memory is read only
                warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
                tensor = torch.from_numpy(array)
            yield name, tensor.view(torch.bfloat16) if dtype == "bfloat16" else tensor


def buckets_of(model: nn.Module, bucket_bytes: int) -> Iterator[list[tuple[str, Tensor]]]:
    """A model's parameters in buckets of about that size; a larger tensor is one by itself, tied ones come once."""
    bucket: list[tuple[str, Tensor]] = []
    size = 0
    for name, parameter in model.named_parameters():
        more = parameter.numel() * parameter.element_size()
        if bucket and size + more > bucket_bytes:
            yield bucket
            bucket, size = [], 0
        bucket.append((name, parameter.detach()))
        size += more
    if bucket:
        yield bucket


def fill(parameters: dict[str, nn.Parameter], tensors: Iterable[tuple[str, Tensor]]) -> None:
    """Copies tensors into a model's parameters, by name, in place. Raises ``KeyError`` for a name that it lacks."""
    with torch.no_grad():
        for name, tensor in tensors:
            parameters[name].copy_(tensor)
