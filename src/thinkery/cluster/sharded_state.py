"""Checkpoints of a model that is cut up: each rank writes its part, while the next step runs.

The state is copied to CPU memory, then written by a thread of each rank (``torch.distributed.checkpoint``). The ranks
write into a folder of a hidden name on a file system that all of them see; when the last one is done, rank 0 flushes it
to the disk and renames it, so a folder that has its name is whole. Left out: reading (``training/sharded_files.py``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from torch import Tensor, distributed
from torch.distributed import checkpoint

from thinkery.cluster.sharded_group import Ranks
from thinkery.files import atomic_folder, write_json_atomic
from thinkery.training.sharded_files import SHARDS


class ShardedFiles:
    """Writes checkpoints, one at a time. Every method, and what it returns, is collective."""

    def __init__(self, ranks: Ranks) -> None:
        self._ranks = ranks
        # The writing threads agree with one another while the model's collectives go on: they need their own group.
        self._writers = distributed.new_group(backend="gloo")
        self._under_way: Callable[[], None] | None = None

    def save(
        self, folder: Path, tensors: Mapping[str, Tensor], name: str, counters: Mapping[str, Any]
    ) -> Callable[[], None]:
        """Takes a copy of ``tensors`` and begins to write it, and ``counters`` as ``name``, to ``folder``.

        A save that is under way is waited for first. Calling the result waits until ``folder`` is there, and raises
        on every rank what went wrong on any.
        """
        self.finish()
        opened = ExitStack()
        new = Path(self._ranks.lead(lambda: str(opened.enter_context(atomic_folder(folder)))))
        try:
            written = checkpoint.async_save(dict(tensors), checkpoint_id=new / SHARDS, process_group=self._writers)
        except BaseException as error:
            opened.__exit__(type(error), error, error.__traceback__)
            raise
        assert isinstance(written, Future)  # staged before it returned

        def close() -> None:
            with opened:
                write_json_atomic(new / name, dict(counters))

        def finish() -> None:
            if self._under_way is not finish:
                return  # somebody has waited for it already
            self._under_way = None
            try:
                self._ranks.agree(lambda: (written.result(), None)[1])
            except BaseException as error:
                opened.__exit__(type(error), error, error.__traceback__)
                raise
            self._ranks.lead(close)

        self._under_way = finish
        return finish

    def finish(self) -> None:
        """Waits for a save that is under way."""
        if self._under_way is not None:
            self._under_way()
