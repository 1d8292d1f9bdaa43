"""Starts a function of this package in a process of its own: a fresh interpreter, which finds what this one finds.

Nothing of this process is inherited but the descriptors named: no threads, no CUDA, no locks that a fork would copy.
Left out: what the two say to each other, and ending the process.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import IO


def start_child(
    main: str,
    arguments: Sequence[int | float | str],
    *,
    descriptors: Sequence[int],
    environment: Mapping[str, str] | None = None,
    stdout: int = subprocess.DEVNULL,
    stderr: int | IO[bytes] | None = None,
) -> subprocess.Popen[bytes]:
    """Calls ``main`` ("module:function") with ``arguments`` in a new process, in a session and a group of its own.

    Ctrl-C is therefore the caller's alone. The modules' places are handed over without PYTHONPATH, which programs that
    the child starts would inherit.
    """
    module, _, function = main.partition(":")
    places = [path for path in sys.path if path]
    given = ", ".join(map(repr, arguments))
    return subprocess.Popen(
        [
            sys.executable,
            "-P",
            "-c",
            f"import sys; sys.path[:] = {places!r}; from {module} import {function}; {function}({given})",
        ],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=stderr,
        pass_fds=descriptors,
        start_new_session=True,
    )
