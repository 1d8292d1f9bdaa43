"""The few Linux calls that Python's standard library lacks: namespaces, mounts, capabilities, prctl."""

from __future__ import annotations

import ctypes
import os

CLONE_NEWNS = 0x00020000
CLONE_NEWIPC = 0x08000000
CLONE_NEWPID = 0x20000000

MS_NOSUID = 2
MS_NODEV = 4
MNT_DETACH = 2

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_CAPBSET_DROP = 24
_PR_SET_NO_NEW_PRIVS = 38
_PR_SET_THP_DISABLE = 41
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_CLEAR_ALL = 4

_CAPABILITY_VERSION_3 = 0x20080522
_EINVAL = 22

_libc = ctypes.CDLL(None, use_errno=True)
_CAPABILITY_HEADER = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
_NO_CAPABILITIES = (ctypes.c_uint32 * 6)()  # two halves of (effective, permitted, inheritable)

# The interpreter's lock stays held over the fork: the child has no other thread to give it back.
_holding_gil = ctypes.PyDLL(None, use_errno=True)
_libc.prctl.argtypes = [ctypes.c_int, *[ctypes.c_ulong] * 4]
_libc.mount.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p]


def fork_first(own_pid_namespace: int) -> int:
    """Fork the first process of a new PID namespace, with mount and IPC namespaces of its own; 0 in the child.

    ``own_pid_namespace`` is an open ``/proc/self/ns/pid``. Libc's fork is told, Python's is not: its hooks touch a
    hundred pages, which the child would have to copy, for threads and locks that a process of one thread hasn't got.
    """
    _check(_libc.unshare(CLONE_NEWPID), "unshare, PID namespace")
    child = int(_holding_gil.fork())
    if child == 0:
        _check(_libc.unshare(CLONE_NEWNS | CLONE_NEWIPC), "unshare, mount and IPC namespaces")
        return 0
    # Before anything else may fail: later children must not land in the namespace of a run.
    _check(_libc.setns(own_pid_namespace, CLONE_NEWPID), "setns")
    if child < 0:
        _check(child, "fork")
    return child


def mount_tmpfs(target: str, options: str) -> None:
    """Mount an empty file system in memory, without devices and set-user-ID programs."""
    result = _libc.mount(b"tmpfs", target.encode(), b"tmpfs", MS_NOSUID | MS_NODEV, options.encode())
    _check(result, f"mount {target}")


def unmount(target: str) -> None:
    """Take a mount, and all below it, out of sight."""
    _check(_libc.umount2(target.encode(), MNT_DETACH), f"unmount {target}")


def die_with_parent(signal_number: int) -> None:
    """Have the kernel send this process a signal when its parent dies."""
    _check(_libc.prctl(_PR_SET_PDEATHSIG, signal_number, 0, 0, 0), "prctl(PR_SET_PDEATHSIG)")


def hide_memory() -> None:
    """Let no process of the same user trace this one or read its memory."""
    _check(_libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0), "prctl(PR_SET_DUMPABLE)")


def forbid_huge_pages() -> None:
    """Give this process, and all that it starts, memory in small pages: one byte kept of a huge one keeps it whole."""
    _check(_libc.prctl(_PR_SET_THP_DISABLE, 1, 0, 0, 0), "prctl(PR_SET_THP_DISABLE)")


def drop_future_capabilities() -> None:
    """Let no program executed from here on gain a capability; this process and its forks keep theirs."""
    capability = 0
    while _libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0) == 0:
        capability += 1
    if ctypes.get_errno() != _EINVAL:  # EINVAL: one past the last capability this kernel knows
        _check(-1, "prctl(PR_CAPBSET_DROP)")
    _check(_libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0), "prctl(PR_CAP_AMBIENT)")
    _check(_libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl(PR_SET_NO_NEW_PRIVS)")


def drop_capabilities() -> None:
    """Give up every capability for good."""
    _check(_libc.capset(_CAPABILITY_HEADER, _NO_CAPABILITIES), "capset")


def _check(result: int, call: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{call}: {os.strerror(number)}")
