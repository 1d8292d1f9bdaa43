"""jemalloc in place of the C library's malloc, where this machine has it: a fifth less time for a step on a CPU.

Packed microbatches and shrinking batches ask for blocks of ever new sizes. glibc keeps the free ones of a size class in
a sorted list and walks it, an eighth of a step's processor time; and what it gives back to the system it has to fetch
again, page by page. jemalloc does neither, if it is told to keep what it has for a while.

A malloc can only be chosen as a process starts, so a command starts itself again, once, before it has done anything.
No result depends on it. Left out: installing it, other systems than Linux on x86-64 (a jemalloc must have been built
for the size of the machine's pages), and machines with accelerators, where steps don't wait for this.
"""

from __future__ import annotations

import os
import platform
import sys
from importlib.util import find_spec
from pathlib import Path

PRELOAD = "LD_PRELOAD"
_CONFIGURATION = "MALLOC_CONF"
# Free memory is kept for longer than a step takes, in huge pages; then the system may take it if it needs it (muzzy).
# Giving it back at once would also give back every block of more than 8 MB as soon as it is free, which doubles the
# time of an update with large microbatches. Kept for good, memory grows without bound: blocks are joined as they go.
_KEEP = "dirty_decay_ms:30000,muzzy_decay_ms:-1,oversize_threshold:0,thp:always"
_FILE = "libjemalloc.so.2"
_FOLDERS = ("/usr/lib/x86_64-linux-gnu", "/usr/lib64", "/usr/lib", "/usr/local/lib", f"{sys.prefix}/lib")
_ACCELERATORS = ("/dev/nvidiactl", "/dev/kfd")

_chosen: dict[str, str] = {}


def start_with_jemalloc() -> None:
    """Starts this process again with jemalloc, if it could be had and nobody has chosen a malloc (``LD_PRELOAD``).

    Call it before anything is done. Programs that the process starts later don't get it; see ``environment``.
    """
    wanted = environment_with_jemalloc()
    if not wanted:
        return
    if PRELOAD not in os.environ:
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], wanted | os.environ)
    if os.environ[PRELOAD] == wanted[PRELOAD]:  # this is the second start
        _chosen.update((name, os.environ.pop(name)) for name in wanted if name in os.environ)


def environment() -> dict[str, str]:
    """What a process of Thinkery's own is started with besides, to have this one's malloc."""
    return dict(_chosen)


def environment_with_jemalloc() -> dict[str, str]:
    """What a process is started with to have jemalloc; empty where that would not work or help."""
    if sys.platform != "linux" or platform.machine() != "x86_64" or any(map(os.path.exists, _ACCELERATORS)):
        return {}
    library = _library()
    return {} if library is None else {PRELOAD: str(library), _CONFIGURATION: _KEEP}


def words() -> str:
    """For people: which jemalloc there is, or what would bring one."""
    library = _library()
    return str(library) if library else "none; apt-get install libjemalloc2 takes a fifth off a step on a CPU"


def _library() -> Path | None:
    """The system's, else the one that Ray brings."""
    candidates = [Path(folder) / _FILE for folder in _FOLDERS]
    ray = find_spec("ray")
    if ray is not None and ray.origin is not None:
        candidates.append(Path(ray.origin).parent / "core" / "libjemalloc.so")
    return next((path for path in candidates if path.exists()), None)
