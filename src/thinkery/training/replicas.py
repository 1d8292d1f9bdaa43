"""Gradients in lanes: every lane has the model with the same weights and a gradient of its own.

The lanes' gradients are added up in their order when all are done, so the sum does not depend on which lane was
faster. The price is one more gradient in memory for each lane but the first, and one microbatch's activations for
each. Left out: the loss (whoever calls says what to do with an item), several devices.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

import torch
from torch import nn

from thinkery.lanes import Lanes

_M = TypeVar("_M", bound=nn.Module)
_T = TypeVar("_T")
_R = TypeVar("_R")


class Replicas(Generic[_M]):
    """A model, and for each further lane a copy that shares its weights and buffers."""

    def __init__(self, model: _M, lanes: Lanes) -> None:
        self.lanes = lanes
        self._models = [model, *(_sharing_weights(model) for _ in range(1, lanes.count))]

    def accumulate(self, work: Callable[[_M, _T], _R], items: Sequence[_T], sizes: Sequence[int]) -> list[_R]:
        """``work(model, item)`` for every item, which adds to that model's gradient; the first model gets the sum.

        Results in the order of the items. ``sizes`` say how much work each item is. Raises what ``work`` raised.
        """
        try:
            results = self.lanes.map(lambda lane, item: work(self._models[lane], item), items, sizes)
            for replica in self._models[1:]:
                for whole, part in zip(self._models[0].parameters(), replica.parameters(), strict=True):
                    if part.grad is not None:
                        whole.grad = part.grad if whole.grad is None else whole.grad.add_(part.grad)
        finally:
            for replica in self._models[1:]:
                replica.zero_grad(set_to_none=True)
        return results


def _sharing_weights(model: _M) -> _M:
    """A copy of the modules around the same memory. What updates the weights must do so in place."""
    shared: dict[int, object] = {id(buffer): buffer for buffer in model.buffers()}
    for parameter in model.parameters():
        shared[id(parameter)] = nn.Parameter(parameter.detach(), requires_grad=parameter.requires_grad)
    return copy.deepcopy(model, shared)


def frozen(lanes: Lanes, work: Callable[[_T], _R], items: Sequence[_T], sizes: Sequence[int]) -> list[_R]:
    """``work(item)`` for every item, in lanes and without gradient; results in the order of the items."""

    def run(_: int, item: _T) -> _R:
        with torch.no_grad():  # which threads don't inherit
            return work(item)

    return lanes.map(run, items, sizes)
