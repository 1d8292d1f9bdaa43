"""Whether the code that a checkpoint brings along may run: not unless the command was given ``--trust-remote-code``.

It is a permission of the session, not of a model or a stage: models are loaded at many depths, by several processes,
and none of these places may decide for itself. So the session says it once, and ``pretrained.py`` asks for it. Left
out: who says it (``pipeline.py``, ``profiling.py``; a cluster's workers are told by ``cluster.connect.Home``).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

FLAG = "--trust-remote-code"
_trusted = False


def trusts_remote_code() -> bool:
    """Whether a checkpoint's own code may run in this process."""
    return _trusted


def trust_remote_code(trusted: bool) -> None:
    """Says so for this process, from now on."""
    global _trusted
    _trusted = trusted


@contextmanager
def remote_code(trusted: bool) -> Iterator[None]:
    """Says so for the block; afterwards it is as it was before."""
    before = _trusted
    trust_remote_code(trusted)
    try:
        yield
    finally:
        trust_remote_code(before)
