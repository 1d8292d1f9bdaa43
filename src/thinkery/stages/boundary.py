"""Where a stage can be stopped by Ctrl-C or SIGTERM: between two steps, the last whole one saved.

A step that learns is ended first; while one only samples, the state after the step before is still there and is saved.
On a cluster that state lies with many processes, which a stop should not wait for: its last checkpoint counts. Left
out: signals (``interrupts``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from thinkery.machine.interrupts import INTERRUPTS
from thinkery.stages.context import StageContext
from thinkery.stages.runtime import LocalRuntime

Write = Callable[[Path], Callable[[], None] | None]


@contextmanager
def unchanged(context: StageContext, step: int, write: Write) -> Iterator[None]:
    """What happens inside leaves the state after ``step`` updates as it is. Who is stopped here saves it first."""
    try:
        INTERRUPTS.check()
        yield
    except KeyboardInterrupt:
        with INTERRUPTS.saved():
            saved = context.run.latest_checkpoint()
            if step > (saved[0] if saved else 0) and isinstance(context.runtime, LocalRuntime):
                context.run.save_checkpoint(step, write)
        raise


def stop_between(context: StageContext, step: int, write: Write) -> None:
    """Saves the state after ``step`` updates and stops, if the user has asked for that."""
    with unchanged(context, step, write):
        pass
