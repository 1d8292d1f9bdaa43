"""A private corner of the machine by system calls alone, for machines without bubblewrap; the server starts in it.

``main`` stops being root and forks into new user, PID, mount, network, IPC, UTS and cgroup namespaces. The child
builds a root of read-only system folders, a few device files, a fresh ``/proc``, this package's sources and an empty
``/tmp``, and executes a command there as PID 1: when that ends, the kernel ends all others. It keeps the capabilities
it is told to, which mean nothing outside. The outer process only waits, and passes the exit code on.

Standard library, Python 3.9. Left out: limits, Landlock, system calls: the server sets those for each run.

References: namespaces(7), user_namespaces(7), capabilities(7), pivot_root(2), mount_setattr(2).
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import struct
import sys
from typing import Any, NoReturn

from . import syscalls

NAMESPACES = {  # bits of unshare(2), beside those that are entered by clone
    "mount": syscalls.CLONE_NEWNS,
    "network": 0x40000000,
    "IPC": syscalls.CLONE_NEWIPC,
    "UTS": 0x04000000,
    "cgroup": 0x02000000,
}
FAILED = 71  # exit code: it could not be built; standard error says why

_MS_RDONLY, _MS_NOEXEC, _MS_REMOUNT, _MS_BIND, _MS_REC, _MS_PRIVATE = 1, 8, 32, 1 << 12, 1 << 14, 1 << 18
_AT_FDCWD, _AT_RECURSIVE = -100, 0x8000
_READ_ONLY_NOSUID_NODEV = 7  # MOUNT_ATTR_*
_MOUNT_SETATTR = 442  # the same number everywhere
_CLONE = {"x86_64": 56, "aarch64": 220}
_CLONE_NEWUSER = 0x10000000
_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
_PR_SET_DUMPABLE = 4
_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE = 47, 2
_CAPABILITY_VERSION_3 = 0x20080522

_BASE = "/tmp"  # a tmpfs is mounted over it, for this process only, to build the new root on


def main() -> NoReturn:
    """Read settings (JSON) from the command line, do as they say, and exit with the command's code."""
    settings: dict[str, Any] = json.loads(sys.argv[1])
    try:
        syscalls.die_with_parent(signal.SIGKILL)
        sources = _read_sources(settings["sources"])  # while we are who may read them
        if settings["become"] is not None:
            become(settings["become"])
        child = clone_into(settings["user"])
        if child == 0:
            syscalls.die_with_parent(signal.SIGKILL)
            enter()
            build_root(settings["readable"], settings["devices"], sources)
            keep_capabilities(settings["capabilities"])
            os.execve(settings["command"][0], settings["command"], settings["environment"])
    except BaseException as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        os._exit(FAILED)
    os.close(0)  # the server's: the other side must see when it ends
    status = os.waitpid(child, 0)[1]
    os._exit(os.WEXITSTATUS(status) if os.WIFEXITED(status) else FAILED)


def become(user: int) -> None:
    """Stop being root for good."""
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)
    # The change of user cleared the signal, and closed the files in /proc that map users.
    syscalls.die_with_parent(signal.SIGKILL)
    _check(_libc.prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0), "prctl(PR_SET_DUMPABLE)")


def clone_into(user: int) -> int:
    """Fork into a new user and a new PID namespace, as ``user`` there; return the child's id, 0 in the child.

    The caller stays outside, so that a limit on the user's processes inside counts those inside only. Python is not
    told of the fork; the child, which has one thread, is only to prepare and execute another program.
    """
    outer_user, outer_group = os.geteuid(), os.getegid()
    flags = _CLONE_NEWUSER | syscalls.CLONE_NEWPID | signal.SIGCHLD
    number = ctypes.c_long(_CLONE[os.uname().machine])
    zero = ctypes.c_long(0)
    child = int(_holding_gil.syscall(number, ctypes.c_long(flags), zero, zero, zero, zero))
    _check(child, "clone into new user and PID namespaces")
    if child == 0:
        _write("/proc/self/setgroups", "deny")
        _write("/proc/self/uid_map", f"{user} {outer_user} 1")
        _write("/proc/self/gid_map", f"{user} {outer_group} 1")
    return child


def enter() -> None:
    """Enter new namespaces of the other kinds. Raises OSError naming the kind that was refused."""
    for kind, bit in NAMESPACES.items():
        _check(_libc.unshare(bit), f"unshare of the {kind} namespace")


def build_root(readable: list[str], devices: list[str], sources: dict[str, bytes]) -> None:
    """Make a root of these host paths, devices (by their name in /dev) and sources, read-only, and move into it."""
    _mount(None, "/", None, _MS_REC | _MS_PRIVATE)
    _mount("tmpfs", _BASE, "tmpfs", syscalls.MS_NOSUID | syscalls.MS_NODEV, "size=4m,mode=755")
    os.mkdir(f"{_BASE}/old")
    os.mkdir(f"{_BASE}/new")
    _mount(f"{_BASE}/new", f"{_BASE}/new", None, _MS_BIND)
    # The first move makes the whole of the host's root reachable, below /old, also what lay under _BASE.
    _pivot(_BASE, f"{_BASE}/old")
    os.chdir("/")
    for path in readable:
        _show(path)
    _make_dev(devices)
    for name, content in sources.items():
        _write_new(f"/new/thinkery/inside/{name}", content)
    for folder in ("/new/tmp", "/new/proc"):
        os.mkdir(folder)
    _mount("proc", "/new/proc", "proc", syscalls.MS_NOSUID | syscalls.MS_NODEV | _MS_NOEXEC)
    syscalls.unmount("/old")
    os.chdir("/new")
    _pivot(".", ".")
    syscalls.unmount(".")
    os.chdir("/")
    _mount(None, "/", None, _MS_REMOUNT | _MS_BIND | _MS_RDONLY | syscalls.MS_NOSUID | syscalls.MS_NODEV)


def keep_capabilities(kept: list[int]) -> None:
    """Have the next program executed hold these capabilities, in this user namespace, and no others."""
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    sets = (ctypes.c_uint32 * 6)()  # two halves of (effective, permitted, inheritable)
    for capability in kept:
        for which in range(3):
            sets[3 * (capability // 32) + which] |= 1 << (capability % 32)
    _check(_libc.capset(header, sets), "capset")
    for capability in kept:
        _check(_libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, capability, 0, 0), "prctl(PR_CAP_AMBIENT)")


def _read_sources(folder: str) -> dict[str, bytes]:
    sources = {}
    for name in os.listdir(folder):
        if name.endswith(".py"):
            with open(os.path.join(folder, name), "rb") as file:
                sources[name] = file.read()
    return sources


def _show(path: str) -> None:
    """Make one path of the host's appear under the new root, read-only; nothing where the host has none."""
    source, target = f"/old{path}", f"/new{path}"
    os.makedirs(os.path.dirname(target), exist_ok=True)
    if os.path.islink(source):  # /bin -> usr/bin and the like
        os.symlink(os.readlink(source), target)
        return
    if os.path.isdir(source):
        os.mkdir(target)
    elif os.path.exists(source):
        _write_new(target, b"")
    else:
        return
    _mount(source, target, None, _MS_BIND | _MS_REC)
    # struct mount_attr: attributes to set, to clear, propagation, user namespace. Recursive: mounts beneath, too.
    attributes = struct.pack("=4Q", _READ_ONLY_NOSUID_NODEV, 0, 0, 0)
    arguments = (ctypes.c_long(_AT_FDCWD), os.fsencode(target), ctypes.c_long(_AT_RECURSIVE), attributes)
    result = _libc.syscall(ctypes.c_long(_MOUNT_SETATTR), *arguments, ctypes.c_long(len(attributes)))
    _check(result, f"mount_setattr of {path}")


def _make_dev(devices: list[str]) -> None:
    for name in devices:
        _write_new(f"/new/dev/{name}", b"")
        _mount(f"/old/dev/{name}", f"/new/dev/{name}", None, _MS_BIND)
    # Named semaphores and shared memory are files here to libc; in a run's own folder they end with it.
    os.symlink("/tmp", "/new/dev/shm")


def _mount(source: str | None, target: str, kind: str | None, flags: int, options: str = "") -> None:
    encoded = [None if text is None else os.fsencode(text) for text in (source, target, kind, options)]
    result = _libc.mount(encoded[0], encoded[1], encoded[2], ctypes.c_ulong(flags), encoded[3])
    _check(result, f"mount of {kind or source or 'nothing'} on {target}")


def _pivot(new: str, old: str) -> None:
    number = ctypes.c_long(_PIVOT_ROOT[os.uname().machine])
    _check(_libc.syscall(number, os.fsencode(new), os.fsencode(old)), "pivot_root")


def _write(path: str, text: str) -> None:
    with open(path, "w", encoding="ascii") as file:
        file.write(text)


def _write_new(path: str, content: bytes) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "xb") as file:
        file.write(content)


def _check(result: int, call: str) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{call}: {os.strerror(number)}")


def _load_libc() -> ctypes.CDLL:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl.argtypes = [ctypes.c_int, *[ctypes.c_ulong] * 4]
    return libc


_libc = _load_libc()
_holding_gil = ctypes.PyDLL(None, use_errno=True)  # the interpreter's lock stays held over a fork
