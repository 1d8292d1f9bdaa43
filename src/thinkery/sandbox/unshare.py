"""Starts the sandbox's server without bubblewrap: in namespaces made by system calls, each run under Landlock, too.

What the server sees and as whom it runs is the same as with bubblewrap. Left out: how the namespaces are made
(``inside.namespaces``), whether that works on this machine (``isolation``).
"""

from __future__ import annotations

import itertools
import json
import os
import socket
import subprocess
from typing import TYPE_CHECKING

from thinkery.sandbox import bubblewrap

if TYPE_CHECKING:
    from thinkery.sandbox.packages import Packages

START = "import sys; sys.path[0:1] = []; sys.path.append({parent!r})\nfrom inside.namespaces import main\nmain()\n"
CAPABILITY_NUMBERS = {"CAP_SETPCAP": 8, "CAP_SYS_PTRACE": 19, "CAP_SYS_ADMIN": 21, "CAP_SYS_RESOURCE": 24}
INNER_USER = 1000

_FIRST_OUTER_USER = 1_500_000_000  # ids that no account and no container has; bubblewrap's servers have others
_count = itertools.count()


def launch(control: socket.socket, packages: Packages | None = None) -> subprocess.Popen[bytes]:
    """Start a server that speaks to ``control``.

    The process dies with the calling *thread*, so that must be one that lives as long as the server shall.
    """
    config = {"landlock": True, "new_groups": True, **bubblewrap.packages_config(packages)}
    python, folders = bubblewrap.interpreter(packages)
    server = [python, "-s", "-S", "-c", bubblewrap.ENTRY, json.dumps(config)]
    return start(server, folders, control.fileno())


def start(command: list[str], folders: list[str], stdin: int) -> subprocess.Popen[bytes]:
    """Start any command where the server would run; ``folders`` are shown to it beside the system's own."""
    settings = {
        "sources": str(bubblewrap.INSIDE),
        "become": _outer_user(),
        "user": INNER_USER,
        "readable": [*folders, *bubblewrap.MACHINE_FOLDERS, "/etc/ld.so.cache"],
        "devices": bubblewrap.DEVICES,
        "capabilities": [CAPABILITY_NUMBERS[name] for name in bubblewrap.CAPABILITIES],
        "command": command,
        "environment": bubblewrap.ENVIRONMENT,
    }
    code = START.format(parent=str(bubblewrap.INSIDE.parent))
    return subprocess.Popen(
        [bubblewrap.interpreter()[0], "-s", "-S", "-c", code, json.dumps(settings)],
        stdin=stdin,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=bubblewrap.ENVIRONMENT,
        cwd="/",
        start_new_session=True,  # an interrupt from the terminal is for the host to handle
    )


def _outer_user() -> int | None:
    """The user that root becomes: one of the server's own, so that nobody's processes are counted with it."""
    return _FIRST_OUTER_USER + os.getpid() * 64 + next(_count) % 64 if os.geteuid() == 0 else None
