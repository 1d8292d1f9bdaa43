"""Checkpoints of a model that is cut up: each rank writes its part, while the next step runs.

The state is copied to CPU memory, then written by a thread of each rank (``torch.distributed.checkpoint``). The ranks
write into a folder of a hidden name on a file system that all of them see; when the last one is done, rank 0 flushes it
to the disk and renames it, so a folder that has its name is whole. A checkpoint that one process wrote is cut up as it
is read. Left out: reading what ranks wrote (``training/sharded_files.py``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict_saver import async_save

from thinkery.cluster.sharded_optimizer import Ranks, local, rows_of
from thinkery.files import atomic_folder, write_json_atomic
from thinkery.training.backend import REFERENCE
from thinkery.training.forward import OPTIMIZER, WEIGHTS
from thinkery.training.optimizer import Optimizers
from thinkery.training.sharded_files import SHARDS
from thinkery.types import UserError

# Ranks wait for the slowest of them to write its part.
_WRITING_S = 3600.0


class ShardedFiles:
    """Writes checkpoints, one at a time. Every method, and what it returns, is collective."""

    def __init__(self, ranks: Ranks) -> None:
        self._ranks = ranks
        # The writing threads agree with one another while the model's collectives go on: they need their own group.
        self._writers = ranks.new_group(_WRITING_S)
        self._in_flight: Callable[[], None] | None = None

    def save(
        self, folder: Path, tensors: Mapping[str, Tensor], name: str, counters: Mapping[str, Any]
    ) -> Callable[[], None]:
        """Takes a copy of ``tensors`` and begins to write it, and ``counters`` as ``name``, to ``folder``.

        A save that is in progress is waited for first. Calling the result waits until ``folder`` is there, and raises
        on every rank what went wrong on any.
        """
        self.finish()
        opened = ExitStack()
        new = Path(self._ranks.lead(lambda: str(opened.enter_context(atomic_folder(folder)))))
        try:
            written = async_save(dict(tensors), checkpoint_id=new / SHARDS, process_group=self._writers)
        except BaseException as error:
            opened.__exit__(type(error), error, error.__traceback__)
            raise
        assert isinstance(written, Future)  # staged before it returned

        def close() -> None:
            with opened:
                write_json_atomic(new / name, dict(counters))

        def finish() -> None:
            if self._in_flight is not finish:
                return  # somebody has waited for it already
            self._in_flight = None
            try:
                self._ranks.agree(lambda: (written.result(), None)[1])
            except BaseException as error:
                opened.__exit__(type(error), error, error.__traceback__)
                raise
            self._ranks.lead(close)

        self._in_flight = finish
        return finish

    def finish(self) -> None:
        """Waits for a save that is in progress."""
        if self._in_flight is not None:
            self._in_flight()


def read_whole(
    folder: Path, model: nn.Module, optimizer: Optimizers, reference: nn.Module | None, ranks: Ranks
) -> None:
    """Restores what one process wrote, in place: of each tensor the rows that this rank has.

    Raises ``UserError`` if it is another model's, or if a reference is asked for and there is none.
    """
    if reference is not None and not (folder / REFERENCE).exists():
        raise UserError(f"{folder} was saved without a reference: its run had beta 0")
    _read_weights(folder / WEIGHTS, model, ranks)
    if reference is not None:
        _read_weights(folder / REFERENCE, reference, ranks)
    saved = torch.load(folder / OPTIMIZER, map_location="cpu", mmap=True, weights_only=True)["optimizers"]
    for one, of_one in zip(optimizer.optimizers, saved, strict=True):
        parameters = [parameter for group in one.param_groups for parameter in group["params"]]
        for number, parameter in enumerate(parameters):
            one.state[parameter] = {
                key: _part_of(value, parameter, ranks) for key, value in of_one["state"].get(number, {}).items()
            }


def _read_weights(path: Path, model: nn.Module, ranks: Ranks) -> None:
    with safe_open(path, "pt") as file:
        saved = {name: torch.Size(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
        if saved != {name: parameter.shape for name, parameter in model.named_parameters()}:
            raise UserError(f"{path} holds another model's weights: resume with the model the run was started from")
        for name, parameter in model.named_parameters():
            rows = rows_of(parameter.shape[0], ranks.count, ranks.rank)
            local(parameter.detach()).copy_(file.get_slice(name)[rows])


def _part_of(value: Tensor, parameter: nn.Parameter, ranks: Ranks) -> Tensor:
    """A rank's rows of what belongs to a parameter; what has another shape is a counter."""
    if value.shape != parameter.shape:
        return value.clone()
    part = torch.zeros_like(parameter, requires_grad=False)
    local(part).copy_(value[rows_of(value.shape[0], ranks.count, ranks.rank)])
    return part
