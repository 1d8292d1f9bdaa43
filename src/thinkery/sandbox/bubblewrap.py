"""Starts the sandbox's server with bubblewrap: what it sees of the machine, and as whom it runs.

The server sees the system's programs and libraries, read-only, and nothing else: no home, no network, no ``/proc`` of
the host, an empty environment. Root gives itself up for a user id that nobody has. Left out: what happens inside
(``inside``), the choice of an isolation (``isolation``).
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thinkery.types import UserError

if TYPE_CHECKING:
    from thinkery.sandbox.packages import Packages

SYSTEM_PYTHON = Path("/usr/bin/python3")
INSIDE = Path(__file__).parent / "inside"
ENTRY = (
    "import sys; sys.path[0] = '/thinkery'\n"
    "from inside.server import serve\n"
    "from inside.supervisor import supervise\n"
    "from inside.program import become\n"
    "become(serve(supervise))\n"
)
ENVIRONMENT = {  # of the server; runs get another one
    "LANG": "C.UTF-8",
    "LD_BIND_NOW": "1",  # or every fork would look symbols up, and copy the pages where they go, anew
    "OPENBLAS_NUM_THREADS": "1",  # numpy's, where packages bring it: threads do not survive a fork
    "PATH": "/usr/bin:/bin",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONHASHSEED": "0",
}
CAPABILITIES = ("CAP_SYS_ADMIN", "CAP_SETPCAP", "CAP_SYS_PTRACE", "CAP_SYS_RESOURCE")  # the server's, never a run's
MACHINE_FOLDERS = ("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
DEVICES = ("null", "random", "urandom")  # not zero: shared mappings of it are memory that no limit counts

_count = itertools.count()


def launch(control: socket.socket, packages: Packages | None = None) -> subprocess.Popen[bytes]:
    """Start a server that speaks to ``control``.

    The process dies with the calling *thread*, so that must be one that lives as long as the server shall.
    """
    with contextlib.ExitStack() as stack:
        arguments, descriptors = _arguments(stack, packages)
        user = _user()
        return subprocess.Popen(
            arguments,
            stdin=control.fileno(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            pass_fds=descriptors,
            env=ENVIRONMENT,
            cwd="/",
            user=user,
            group=user,
            extra_groups=None if user is None else [],
        )


def _user() -> int | None:
    """The user root becomes: one of the server's own, so that nobody else's processes are counted with it."""
    return 1_000_000_000 + os.getpid() * 64 + next(_count) % 64 if os.geteuid() == 0 else None


def _arguments(stack: contextlib.ExitStack, packages: Packages | None) -> tuple[list[str], list[int]]:
    program = shutil.which("bwrap", path="/usr/bin:/bin:/usr/local/bin")
    if program is None:
        raise UserError("bubblewrap is not installed: install the package 'bubblewrap' (it brings the program bwrap)")
    python, folders = interpreter(packages)
    arguments = [program, "--unshare-all", "--unshare-user", "--die-with-parent", "--new-session"]
    arguments += ["--uid", "1000", "--gid", "1000", "--hostname", "sandbox"]
    for capability in CAPABILITIES:
        arguments += ["--cap-add", capability]
    for folder in folders:
        arguments += ["--ro-bind", folder, folder]
    for folder in MACHINE_FOLDERS:
        path = Path(folder)
        if path.is_symlink():
            arguments += ["--symlink", os.readlink(path), folder]
        elif path.is_dir():
            arguments += ["--ro-bind", folder, folder]
    if os.path.exists("/etc/ld.so.cache"):
        arguments += ["--ro-bind", "/etc/ld.so.cache", "/etc/ld.so.cache"]
    for device in DEVICES:
        arguments += ["--dev-bind", f"/dev/{device}", f"/dev/{device}"]
    arguments += ["--dir", "/tmp", "--symlink", "/tmp", "/dev/shm", "--proc", "/proc"]
    descriptors = []
    for source in sorted(INSIDE.glob("*.py")):
        descriptor = os.open(source, os.O_RDONLY | os.O_CLOEXEC)  # as ourselves: the server may not reach our files
        stack.callback(os.close, descriptor)
        descriptors.append(descriptor)
        arguments += ["--ro-bind-data", str(descriptor), f"/thinkery/inside/{source.name}"]
    config = {"landlock": False, "new_groups": True, **packages_config(packages)}
    arguments += ["--remount-ro", "/", "--", python, "-s", "-S", "-c", ENTRY, json.dumps(config)]
    return arguments, descriptors


def packages_config(packages: Packages | None) -> dict[str, Any]:
    """What a server must know of the packages it shows."""
    if packages is None:
        return {"readable": [], "path": [], "modules": []}
    return {"readable": packages.folders, "path": packages.path, "modules": packages.modules}


def interpreter(packages: Packages | None = None) -> tuple[str, list[str]]:
    """(interpreter, folders to show) for the inside: the system's Python, else our own if another user can reach it.

    Neither brings packages: ``site-packages`` is not on the path, and that of a virtual environment not in sight;
    unless a server is started for ``packages``.
    """
    if packages is not None:
        return packages.python, ["/usr", *packages.folders]
    if SYSTEM_PYTHON.exists():
        return str(SYSTEM_PYTHON), ["/usr"]
    prefix = Path(sys.base_prefix)
    python = prefix / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}"
    if python.exists() and all(part.stat().st_mode & 0o5 == 0o5 for part in _and_parents(prefix)):
        return str(python), ["/usr", *([] if prefix.is_relative_to("/usr") else [str(prefix)])]
    raise UserError(
        f"The sandbox needs a Python that an unprivileged user can run: there is no {SYSTEM_PYTHON}, and "
        f"{prefix} is not open to others. Install the system's python3, or move {prefix} out of a private folder."
    )


def _and_parents(path: Path) -> Iterator[Path]:
    yield path
    yield from path.parents
