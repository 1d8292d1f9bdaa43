"""Steps of an optimizer on parameters of which each rank has a part.

AdamW looks at one number at a time and needs nothing here. Muon makes whole matrices orthogonal: here each matrix is
brought to one rank, orthogonalised there by torch's own Muon, and its parts are brought back, as many matrices at once
as there are ranks (compare Liu et al., "Muon is Scalable for LLM Training", 2025, section 2.3). Momenta stay where the
parameters are. So a step is that of one process, up to the rounding of the gradients that go in.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.distributed.tensor import DTensor

from thinkery.cluster.sharded_group import Ranks


def local(tensor: Tensor) -> Tensor:
    """This rank's part."""
    assert isinstance(tensor, DTensor)
    return tensor.to_local()


def rows_of(rows: int, ranks: int, rank: int) -> slice:
    """Which of a tensor's rows a rank has: as ``torch.chunk`` cuts it, so the last ranks may have few or none."""
    each = -(-rows // ranks)
    return slice(min(rank * each, rows), min((rank + 1) * each, rows))


class ShardedMuon(torch.optim.Muon):
    """torch's Muon over parameters cut up by rows; the arguments are its own."""

    def __init__(self, params: Any, *, ranks: Ranks, **arguments: Any) -> None:
        super().__init__(params, **arguments)
        self._ranks = ranks

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One step; collective."""
        for group in self.param_groups:
            learnt = [parameter for parameter in group["params"] if parameter.grad is not None]
            for first in range(0, len(learnt), self._ranks.count):
                self._step_together(learnt[first : first + self._ranks.count], group)

    def _step_together(self, parameters: list[nn.Parameter], group: dict[str, Any]) -> None:
        """At most one matrix a rank."""
        directions = [self._direction(parameter, group) for parameter in parameters]
        updates = self._through_owners(directions, [parameter.shape for parameter in parameters], group)
        for parameter, update in zip(parameters, updates, strict=True):
            local(parameter).mul_(1 - group["lr"] * group["weight_decay"]).add_(update.to(parameter.device))

    def _direction(self, parameter: nn.Parameter, group: dict[str, Any]) -> Tensor:
        """What is to be made orthogonal: the gradient with its momentum; this rank's rows."""
        assert parameter.grad is not None
        state = self.state[parameter]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(parameter.grad)
        grad, momentum = local(parameter.grad), local(state["momentum_buffer"])
        momentum.lerp_(grad, 1 - group["momentum"])
        return grad.lerp(momentum, group["momentum"]) if group["nesterov"] else momentum

    def _through_owners(self, parts: list[Tensor], shapes: list[torch.Size], group: dict[str, Any]) -> list[Tensor]:
        """Rank k gets matrix k whole, makes the step of it, and gives each rank its rows of that."""
        ranks, rank = self._ranks.count, self._ranks.rank
        given = [part.numel() for part in parts] + [0] * (ranks - len(parts))
        mine = shapes[rank] if rank < len(shapes) else None
        taken = [0] * ranks if mine is None else [_numel(mine, ranks, other) for other in range(ranks)]
        sent = torch.cat([part.flatten() for part in parts]).to(self._ranks.device)
        whole = sent.new_empty(sum(taken))
        distributed.all_to_all_single(whole, sent, taken, given, group=self._ranks.group)
        if mine is not None:
            whole = _muon_step(whole.view(mine), group).flatten()
        distributed.all_to_all_single(sent, whole, given, taken, group=self._ranks.group)
        pieces = sent.split(given)
        return [piece.view(part.shape) for piece, part in zip(pieces, parts, strict=False)]


def _numel(shape: torch.Size, ranks: int, rank: int) -> int:
    rows = rows_of(shape[0], ranks, rank)
    return int(rows.stop - rows.start) * shape[1]


def _muon_step(direction: Tensor, group: dict[str, Any]) -> Tensor:
    """What torch's Muon adds to a matrix, given the direction: its step from zero, without momentum or decay."""
    matrix = nn.Parameter(torch.zeros_like(direction))
    matrix.grad = direction
    kept = {name: group[name] for name in ("lr", "ns_coefficients", "eps", "ns_steps", "adjust_lr_fn")}
    torch.optim.Muon([matrix], weight_decay=0.0, momentum=0.0, nesterov=False, **kept).step()
    return matrix.detach()
