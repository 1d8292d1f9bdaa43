"""Landlock by its system calls: which files a process may read and write, and whom it may signal or call.

``restrict`` puts the calling thread, and all that it starts, into a domain: the listed paths are readable, others
writable, nothing else can be opened; where the kernel knows how, TCP ports are closed and signals and abstract
sockets end at the domain's border. A domain cannot trace processes outside it, whatever their user.

What Landlock does not guard, on any kernel so far: modes, owners, times and extended attributes of files, ``stat``,
``access`` and existing sockets in the file system. So it is one half of a sandbox; the other half is another user
id or a mount namespace, and seccomp. It runs inside the sandbox: standard library, Python 3.9.

Reference: Documentation/userspace-api/landlock.rst in the kernel's source; Salaün 2021.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import stat
import struct
from collections.abc import Iterable

# The same numbers on every architecture.
_CREATE_RULESET = 444
_ADD_RULE = 445
_RESTRICT_SELF = 446
_VERSION_FLAG = 1
_RULE_PATH_BENEATH = 1
_PR_SET_NO_NEW_PRIVS = 38

_EXECUTE = 1 << 0
_WRITE_FILE = 1 << 1
_READ_FILE = 1 << 2
_READ_DIR = 1 << 3
_TRUNCATE = 1 << 14
_IOCTL_DEVICE = 1 << 15
_READ = _EXECUTE | _READ_FILE | _READ_DIR
_FOR_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEVICE  # the rest is for directories only
_DEVICES = (1 << 6) | (1 << 11)  # make character and block devices: granted to nobody

_TCP_BIND_CONNECT = 3
_SCOPE_SOCKETS_SIGNALS = 3


def abi() -> int:
    """Return the version of Landlock that the kernel offers, 0 for none (not built in, switched off or forbidden)."""
    version = _syscall(_CREATE_RULESET, None, 0, _VERSION_FLAG)
    return max(version, 0)


def files_handled(version: int) -> int:
    """Return the file rights that this ABI version can refuse, as bits of LANDLOCK_ACCESS_FS_*."""
    bits = 13  # ABI 1: up to making symbolic links
    for since in (2, 3, 5):  # linking across directories, truncating, ioctl on devices
        bits += version >= since
    return (1 << bits) - 1


def ruleset(version: int) -> bytes:
    """Return ``struct landlock_ruleset_attr`` refusing everything this ABI version knows."""
    attributes = struct.pack("=Q", files_handled(version))
    if version >= 4:
        attributes += struct.pack("=Q", _TCP_BIND_CONNECT)
    if version >= 6:
        attributes += struct.pack("=Q", _SCOPE_SOCKETS_SIGNALS)
    return attributes


def restrict(readable: Iterable[str], writable: Iterable[str] = (), usable: Iterable[str] = ()) -> int:
    """Enter a Landlock domain; return its ABI version, 0 if the kernel has none and nothing was done.

    Beneath ``readable`` files can be read and executed, beneath ``writable`` everything but devices made;
    ``usable`` are device files to read and write. Paths that do not exist are passed over. Sets no_new_privs.
    """
    version = abi()
    if version == 0:
        return 0
    handled = files_handled(version)
    attributes = ruleset(version)
    rules = _syscall(_CREATE_RULESET, attributes, len(attributes), 0)
    if rules < 0:
        raise _last_error("landlock_create_ruleset")
    try:
        for paths, rights in (
            (readable, _READ),
            (writable, handled & ~_DEVICES),
            (usable, _READ_FILE | _WRITE_FILE | _TRUNCATE),
        ):
            for path in paths:
                _allow(rules, path, rights & handled)
        if _prctl(_PR_SET_NO_NEW_PRIVS, 1) != 0:
            raise _last_error("prctl(PR_SET_NO_NEW_PRIVS)")
        if _syscall(_RESTRICT_SELF, rules, 0, 0) < 0:
            raise _last_error("landlock_restrict_self")
    finally:
        os.close(rules)
    return version


def _allow(rules: int, path: str, rights: int) -> None:
    try:
        beneath = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.EACCES):
            return
        raise
    try:
        if not stat.S_ISDIR(os.fstat(beneath).st_mode):
            rights &= _FOR_FILES
        if _syscall(_ADD_RULE, rules, _RULE_PATH_BENEATH, struct.pack("=Qi", rights, beneath), 0) < 0:
            raise _last_error(f"landlock_add_rule({path})")
    finally:
        os.close(beneath)


@functools.cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _syscall(number: int, *arguments: int | bytes | None) -> int:
    # syscall() is variadic and its arguments are longs; a plain Python int would travel as 32 bits.
    wide = [ctypes.c_long(value) if isinstance(value, int) else value for value in arguments]
    return int(_libc().syscall(ctypes.c_long(number), *wide))


def _prctl(option: int, value: int) -> int:
    zero = ctypes.c_ulong(0)
    return int(_libc().prctl(ctypes.c_int(option), ctypes.c_ulong(value), zero, zero, zero))


def _last_error(call: str) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, f"{call}: {os.strerror(number)}")
