"""A seccomp filter for untrusted programs, built and installed with the standard library alone.

The filter refuses what a program never needs and an attack does: tracing others, mounts and namespaces, kernel
keys, modules, BPF, io_uring, sockets other than connected pairs, memory no limit counts. Refusals are errors the
program sees (EPERM; ENOSYS where libc has another way), so that ordinary programs, threads, compilers and
``multiprocessing`` (by fork or spawn) work on. System calls of another architecture end the process. Calls newer than
the tables here do not exist for the program.

``filter_program`` is a pure function of machine and options; ``install`` hands its result to the kernel. It runs
inside the sandbox: no import of this project, Python 3.9. Left out: files (``landlock``), signals, resource limits.

References: seccomp(2); Documentation/userspace-api/seccomp_filter.rst in the kernel's source; McCanne & Jacobson
1993, "The BSD Packet Filter".
"""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import platform
from typing import NamedTuple

# Classic BPF, as linux/bpf_common.h has it.
LOAD_WORD = 0x20  # A = the 32-bit word at offset k of struct seccomp_data
JUMP_EQUAL = 0x15
JUMP_GREATER = 0x25
JUMP_AT_LEAST = 0x35
JUMP_ANY_BIT = 0x45
AND = 0x54
RETURN = 0x06

# struct seccomp_data: int nr; u32 arch; u64 instruction_pointer; u64 args[6].
OFFSET_NUMBER = 0
OFFSET_ARCH = 4
OFFSET_ARGUMENTS = 16

ALLOW = 0x7FFF0000
KILL_PROCESS = 0x80000000
FAIL = 0x00050000  # the error number is in the low 16 bits

AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}

# The last system call known here (futex_requeue). Newer ones and those of the x32 ABI (bit 30) are ENOSYS.
NEWEST = 456

_PR_SET_NO_NEW_PRIVS = 38
_PR_SET_SECCOMP = 22
_SECCOMP_MODE_FILTER = 2

_CLONE_NEW = 0x7E020000  # NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET
_AF_UNIX = 1
_DATAGRAM_BIT = 0x2  # in SOCK_DGRAM and SOCK_RAW; not in SOCK_STREAM and SOCK_SEQPACKET
_TIOCSTI = 0x5412  # pushes characters into a terminal
_TIOCLINUX = 0x541C
_F_SETPIPE_SZ = 1031  # pipes hold memory that belongs to no process
_MAP_HUGETLB = 0x40000  # pages set aside by the administrator, for somebody else
_PR_SET_THP_DISABLE = 41  # ``program`` sets it, for good
_MAP_SHARED_ANONYMOUS = 0x21  # MAP_SHARED and MAP_SHARED_VALIDATE have bit 0, MAP_ANONYMOUS bit 5

# Refused whatever the arguments: name -> (x86_64, aarch64); -1 where the architecture has no such call.
DENIED = {
    # Other processes.
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "process_madvise": (440, 440),
    "process_mrelease": (448, 448),
    "pidfd_getfd": (438, 438),
    "kcmp": (312, 272),
    "move_pages": (279, 239),
    "migrate_pages": (256, 238),
    "mbind": (237, 235),
    "set_mempolicy": (238, 237),
    "set_mempolicy_home_node": (450, 450),
    "ioprio_set": (251, 30),
    # Mounts and namespaces.
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "unshare": (272, 97),
    "setns": (308, 268),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    # Wide doors into the kernel.
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "vmsplice": (278, 75),
    "io_setup": (206, 0),  # takes from a number of events that the whole machine shares
    "io_destroy": (207, 1),
    "io_submit": (209, 2),
    "io_cancel": (210, 3),
    "io_getevents": (208, 4),
    "io_pgetevents": (333, 292),
    "landlock_create_ruleset": (444, 444),  # rules are kernel memory that nothing counts
    "landlock_add_rule": (445, 445),
    "landlock_restrict_self": (446, 446),
    "fanotify_init": (300, 262),
    "fanotify_mark": (301, 263),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "modify_ldt": (154, -1),
    "iopl": (172, -1),
    "ioperm": (173, -1),
    "uselib": (134, -1),
    "_sysctl": (156, -1),
    "sysfs": (139, -1),
    "ustat": (136, -1),
    "lookup_dcookie": (212, 18),
    "nfsservctl": (180, 42),
    # The machine.
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "create_module": (174, -1),
    "get_kernel_syms": (177, -1),
    "query_module": (178, -1),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "reboot": (169, 142),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "acct": (163, 89),
    "syslog": (103, 116),
    "sync": (162, 81),  # waits for, and stalls, the disks of the host
    "syncfs": (306, 267),
    "vhangup": (153, 58),
    "sethostname": (170, 161),
    "setdomainname": (171, 162),
    "settimeofday": (164, 170),
    "clock_settime": (227, 112),
    "clock_adjtime": (305, 266),
    "adjtimex": (159, 171),
    # Memory that outlives its process, or that neither a file limit nor the process's size counts. Descriptors sent
    # through a socket are of that kind: in a cycle they outlive everything, until some socket elsewhere is closed.
    "sendmsg": (46, 211),
    "sendmmsg": (307, 269),
    "setsockopt": (54, 208),
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    "shmget": (29, 194),
    "shmat": (30, 196),
    "shmctl": (31, 195),
    "semget": (64, 190),
    "semop": (65, 193),
    "semctl": (66, 191),
    "semtimedop": (220, 192),
    "msgget": (68, 186),
    "mq_open": (240, 180),
    "mq_unlink": (241, 181),
}

# Refused only where a program shares more with the host than it should: see ``filter_program``.
DENIED_NEW_GROUPS = {"setsid": (112, 157), "setpgid": (109, 154)}

_CLONE3 = (435, 435)
DECIDED_BY_ARGUMENTS = {  # where the arguments decide
    "clone": (56, 220),
    "socket": (41, 198),
    "socketpair": (53, 199),
    "ioctl": (16, 29),
    "prlimit64": (302, 261),
    "personality": (135, 92),
    "fcntl": (72, 25),
    "mmap": (9, 222),
    "prctl": (157, 167),
}


class Instruction(NamedTuple):
    """One ``struct sock_filter``."""

    code: int
    jump_true: int
    jump_false: int
    k: int


class _Check(NamedTuple):
    """One look at an argument's low 32 bits (all the arguments in question are 32-bit ones to the kernel)."""

    argument: int
    jump: int
    value: int
    refuse_if: bool
    mask: int | None = None


class _Filter(ctypes.Structure):
    _fields_ = [("len", ctypes.c_ushort), ("filter", ctypes.c_char_p)]


def filter_program(machine: str, new_groups: bool = True) -> list[Instruction]:
    """Return the filter for a machine (``x86_64`` or ``aarch64``).

    ``new_groups`` False keeps a program in the process group it was started in: needed where the group is what gets
    killed, that is without a PID namespace.
    """
    if machine not in AUDIT_ARCH:
        raise OSError(errno.ENOSYS, f"no seccomp table for {machine}; there is one for {', '.join(AUDIT_ARCH)}")
    column = list(AUDIT_ARCH).index(machine)
    refused = {numbers[column] for numbers in DENIED.values()}
    if not new_groups:
        refused |= {numbers[column] for numbers in DENIED_NEW_GROUPS.values()}
    program = [
        Instruction(LOAD_WORD, 0, 0, OFFSET_ARCH),
        Instruction(JUMP_EQUAL, 1, 0, AUDIT_ARCH[machine]),
        Instruction(RETURN, 0, 0, KILL_PROCESS),
        Instruction(LOAD_WORD, 0, 0, OFFSET_NUMBER),
        Instruction(JUMP_GREATER, 0, 1, NEWEST),
        Instruction(RETURN, 0, 0, FAIL | errno.ENOSYS),
        # ENOSYS sends libc to clone(), whose flags a filter can see.
        *_refuse_range(_CLONE3[column], _CLONE3[column], errno.ENOSYS),
    ]
    for first, last in _ranges(refused - {-1}):
        program += _refuse_range(first, last, errno.EPERM)
    for name, (checks, error) in _argument_rules().items():
        program += _refuse_by_argument(DECIDED_BY_ARGUMENTS[name][column], checks, error)
    program.append(Instruction(RETURN, 0, 0, ALLOW))
    return program


def install(new_groups: bool = True) -> None:
    """Put this thread, and all that it starts, under the filter for good; the option is ``filter_program``'s.

    Sets no_new_privs first. Raises OSError where the kernel has no seccomp, or the machine no table here.
    """
    code = _packed(platform.machine(), new_groups)
    libc = _libc()
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        raise _last_error("prctl(PR_SET_NO_NEW_PRIVS)")
    program = _Filter(len(code) // 8, code)
    if libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0) != 0:
        raise _last_error("prctl(PR_SET_SECCOMP)")


def prepare(new_groups: bool = True) -> None:
    """Do the slow part of ``install`` ahead of time, in the process that will fork."""
    _packed(platform.machine(), new_groups)
    _libc()


def _argument_rules() -> dict[str, tuple[list[_Check], int]]:
    only_unix = _Check(0, JUMP_EQUAL, _AF_UNIX, refuse_if=False)
    # Connected pairs of streams hold little. Datagrams go to any address, and queues of them and of connections that
    # nobody accepts hold memory without end.
    no_datagrams = _Check(1, JUMP_ANY_BIT, _DATAGRAM_BIT, refuse_if=True)
    return {
        "clone": ([_Check(0, JUMP_ANY_BIT, _CLONE_NEW, refuse_if=True)], errno.EPERM),
        "socket": ([_Check(0, JUMP_AT_LEAST, 0, refuse_if=True)], errno.EAFNOSUPPORT),
        "socketpair": ([only_unix, no_datagrams], errno.EAFNOSUPPORT),
        "ioctl": ([_Check(1, JUMP_EQUAL, command, refuse_if=True) for command in (_TIOCSTI, _TIOCLINUX)], errno.EPERM),
        "prlimit64": ([_Check(0, JUMP_EQUAL, 0, refuse_if=False)], errno.EPERM),  # 0: the caller itself
        "personality": ([_Check(0, JUMP_EQUAL, 0xFFFFFFFF, refuse_if=False)], errno.EPERM),  # a query
        "fcntl": ([_Check(1, JUMP_EQUAL, _F_SETPIPE_SZ, refuse_if=True)], errno.EPERM),
        # Such memory stays when a process drops it from its own pages, where the watcher looks for it.
        "mmap": (
            [
                _Check(3, JUMP_EQUAL, _MAP_SHARED_ANONYMOUS, refuse_if=True, mask=_MAP_SHARED_ANONYMOUS),
                _Check(3, JUMP_ANY_BIT, _MAP_HUGETLB, refuse_if=True),
            ],
            errno.EPERM,
        ),
        "prctl": ([_Check(0, JUMP_EQUAL, _PR_SET_THP_DISABLE, refuse_if=True)], errno.EPERM),
    }


def _ranges(numbers: set[int]) -> list[tuple[int, int]]:
    """Neighbouring numbers joined, both ends included."""
    ranges: list[tuple[int, int]] = []
    for number in sorted(numbers):
        if ranges and ranges[-1][1] == number - 1:
            ranges[-1] = (ranges[-1][0], number)
        else:
            ranges.append((number, number))
    return ranges


def _refuse_range(first: int, last: int, error: int) -> list[Instruction]:
    if first == last:
        return [Instruction(JUMP_EQUAL, 0, 1, first), Instruction(RETURN, 0, 0, FAIL | error)]
    return [
        Instruction(JUMP_AT_LEAST, 0, 2, first),
        Instruction(JUMP_GREATER, 1, 0, last),
        Instruction(RETURN, 0, 0, FAIL | error),
    ]


def _refuse_by_argument(number: int, checks: list[_Check], error: int) -> list[Instruction]:
    """One system call's block. It ends in a return on every way, so the number stays loaded for the next block."""
    body: list[Instruction] = []
    for check in checks:
        skip = (0, 1) if check.refuse_if else (1, 0)
        masked = [] if check.mask is None else [Instruction(AND, 0, 0, check.mask)]
        body += [
            Instruction(LOAD_WORD, 0, 0, OFFSET_ARGUMENTS + 8 * check.argument),
            *masked,
            Instruction(check.jump, *skip, check.value),
            Instruction(RETURN, 0, 0, FAIL | error),
        ]
    body.append(Instruction(RETURN, 0, 0, ALLOW))
    return [Instruction(JUMP_EQUAL, 0, len(body), number), *body]


@functools.cache
def _packed(machine: str, new_groups: bool) -> bytes:
    program = filter_program(machine, new_groups)
    return b"".join(
        code.to_bytes(2, "little") + bytes((jump_true, jump_false)) + k.to_bytes(4, "little")
        for code, jump_true, jump_false, k in program
    )


@functools.cache
def _libc() -> ctypes.CDLL:
    libc = ctypes.CDLL(None, use_errno=True)
    # prctl is variadic and its arguments are longs; a plain Python int would travel as 32 bits.
    libc.prctl.argtypes = [ctypes.c_int, ctypes.c_ulong, ctypes.c_void_p, ctypes.c_ulong, ctypes.c_ulong]
    return libc


def _last_error(call: str) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, f"{call}: {os.strerror(number)}")
