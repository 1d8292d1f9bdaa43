"""Starts the sandbox's server without any isolation, for whoever asks for it by name (``--unsafe-local``).

Limits, results and conversations are those of every other level; ``inside.plain`` says what is missing.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import tempfile
from typing import TYPE_CHECKING

from thinkery.sandbox import bubblewrap

if TYPE_CHECKING:
    from thinkery.sandbox.packages import Packages

ENTRY = (
    "import sys; sys.path[0:1] = []; sys.path.append({parent!r})\n"
    "from inside.plain import serve\n"
    "from inside.program import become\n"
    "job = serve()\n"
    "sys.path[0:0] = ['']; sys.path.remove({parent!r})\n"
    "become(job)\n"
)


def launch(control: socket.socket, packages: Packages | None = None) -> subprocess.Popen[bytes]:
    """Start a server that speaks to ``control``; it runs as the caller. It dies with the calling *thread*."""
    python = str(bubblewrap.SYSTEM_PYTHON) if bubblewrap.SYSTEM_PYTHON.exists() else sys.executable
    if packages is not None:
        python = packages.python
    # Without a PID namespace the process group is what gets killed; without a network namespace sockets lead outside.
    config = {"landlock": False, "new_groups": False, "folders_in": tempfile.gettempdir()}
    config |= bubblewrap.packages_config(packages)
    return subprocess.Popen(
        [python, "-s", "-S", "-c", ENTRY.format(parent=str(bubblewrap.INSIDE.parent)), json.dumps(config)],
        stdin=control.fileno(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=bubblewrap.ENVIRONMENT,
        cwd="/",
        start_new_session=True,  # an interrupt from the terminal is for the host to handle
    )
