"""The ranks that carry a model together, and the few things that they tell one another beside tensors.

Objects travel over a gloo group of their own: on CUDA they need no memory of the device, and they can't get between
the collectives of the model. Every collective ends by the group's deadline. Left out: what the ranks compute, who
starts them (``torchrun``, Ray, a test).
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Literal, TypeVar

import torch
from torch import Tensor, distributed
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
