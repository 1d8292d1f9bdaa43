"""The ranks that hold a model together, and optimizer steps on parameters of which each rank has a part.

Left out: the model itself (``sharded_model.py``) and its checkpoints (``sharded_state.py``).
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor, distributed, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.tensor import DTensor, Partial, Placement, Replicate, Shard

from thinkery.types import UserError

_T = TypeVar("_T")


def join_ranks(address: str, rank: int, ranks: int, *, device: torch.device, timeout_s: float) -> None:
    """Makes this process one of ``ranks``, which meet at ``address`` ("host:port" of rank 0).

    gloo between CPUs, nccl between GPUs. ``timeout_s`` is the deadline of the meeting and of every collective: where a
    rank is gone, the others raise ``RuntimeError`` then.
    """
    if device.type == "cuda":
        torch.cuda.set_device(device)
    distributed.init_process_group(
        "gloo" if device.type == "cpu" else f"cpu:gloo,{device.type}:nccl",
        init_method=f"tcp://{address}",
        rank=rank,
        world_size=ranks,
        timeout=timedelta(seconds=timeout_s),
    )


class Ranks:
    """All ranks of the default process group. Every method is collective: all ranks call it, in the same order."""

    def __init__(self, device: torch.device, timeout_s: float) -> None:
        """``timeout_s`` is the deadline of what isn't tensors. Raises ``UserError`` where there is no process group."""
        if not distributed.is_initialized():
            raise UserError("a sharded model needs a process group: call join_ranks first")
        self.count, self.rank = distributed.get_world_size(), distributed.get_rank()
        self.device = device
        self.mesh: DeviceMesh = init_device_mesh(device.type, (self.count,), mesh_dim_names=("shard",))
        self.group: distributed.ProcessGroup = self.mesh.get_group()
        self._objects = self.new_group(timeout_s)

    def new_group(self, timeout_s: float) -> distributed.ProcessGroup:
        """A group of all ranks for what is in CPU memory, whose collectives are apart from all others."""
        group: distributed.ProcessGroup = distributed.new_group(backend="gloo", timeout=timedelta(seconds=timeout_s))
        return group

    def gathered(self, part: Tensor) -> Tensor:
        """The parts of all ranks, of one shape, one after another: [N, ...] -> [ranks * N, ...]."""
        return _placed(part, self.mesh, Shard(0), Replicate())

    def reduced(self, part: Tensor, how: Literal["sum", "max"]) -> Tensor:
        """Sum or maximum over the ranks, element by element."""
        return _placed(part, self.mesh, Partial(how), Replicate())

    def scattered_sum(self, part: Tensor) -> Tensor:
        """The sum over the ranks, of which each gets its part: [ranks * N, ...] -> [N, ...]."""
        return _placed(part, self.mesh, Partial("sum"), Shard(0))

    def gather(self, value: _T) -> list[_T]:
        """The objects of all ranks; anything that can be pickled, tensors on the CPU."""
        values: list[_T | None] = [None] * self.count
        distributed.all_gather_object(values, value, group=self._objects)
        return values  # type: ignore[return-value]  # all are filled

    def agree(self, work: Callable[[], _T]) -> list[_T]:
        """``work`` on every rank; its results, or on every rank the error of the first rank that has one."""
        try:
            outcome: tuple[_T | None, Exception | None] = work(), None
        except Exception as error:
            # Not every library's error can be sent.
            sendable = isinstance(error, UserError | OSError)
            outcome = None, error if sendable else RuntimeError(f"{type(error).__name__}: {error}")
        outcomes = self.gather(outcome)
        for _, failed in outcomes:
            if failed is not None:
                raise failed
        return [value for value, _ in outcomes]  # type: ignore[misc]  # no error, so a result

    def lead(self, work: Callable[[], _T]) -> _T:
        """``work`` on rank 0 alone; its result, or its error, on every rank."""
        return self.agree(lambda: work() if self.rank == 0 else None)[0]  # type: ignore[return-value]


def _placed(part: Tensor, mesh: DeviceMesh, before: Placement, after: Placement) -> Tensor:
    """What this rank has once a tensor, of which ``part`` is its share in ``before``, is placed as in ``after``."""
    return DTensor.from_local(part, mesh, [before], run_check=False).redistribute(placements=[after]).to_local()


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
