"""An exit status of 0 only where the work is done: the command runs in a child, and its parent knows what was left.

Any code in the process, a user's reward or a library, can end it at once and without an error (``os._exit(0)``). The
child says when it begins a run and when all of it is done; where only the first was said, the parent turns 0 into
``UNFINISHED`` and says so. The parent does nothing else: it hands on signals that were sent to it alone, dies as its
child died, and takes the child along when it is killed. Left out: other systems than Linux, where commands run
unguarded; what the work is (``pipeline.py``).
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys

UNFINISHED = 70  # EX_SOFTWARE of sysexits
_PR_SET_PDEATHSIG = 1
_HANDED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)
_BEGUN, _ENDED = b"b", b"e"

_told: int | None = None  # the end of the pipe to the parent, in a guarded process
_guard: int | None = None


def guard() -> None:
    """Returns in a child of this process, which stays behind until the child ends, and ends like it.

    Call it before anything is done: before threads, and before output is buffered.
    """
    global _told, _guard
    if sys.platform != "linux":
        return
    # From the fork on, no signal may be missed; the child gets back what it had.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [*_HANDED_ON, signal.SIGCHLD])
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # who ignores it can't wait for a child
    parent, (reader, writer) = os.getpid(), os.pipe()
    child = os.fork()
    if child:
        os.close(writer)
        _end_like(child, reader)
    os.close(reader)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(UNFINISHED)  # it was killed before it could take this process along
    _told, _guard = writer, parent
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


def guarding() -> int | None:
    """The process that guards this one."""
    return _guard


def begun() -> None:
    """Says that a run has begun: until ``ended``, this process must not end with 0."""
    _tell(_BEGUN)


def ended() -> None:
    """Says that all of the run is done."""
    _tell(_ENDED)


def _tell(word: bytes) -> None:
    if _told is not None:
        os.write(_told, word)


def _end_like(child: int, reader: int) -> None:
    """Waits for the child and ends with its status, or with ``UNFINISHED``. Never returns."""
    while True:
        received = signal.sigwaitinfo([*_HANDED_ON, signal.SIGCHLD])
        if received.si_signo == signal.SIGCHLD:
            pid, status = os.waitpid(child, os.WNOHANG)
            if pid:
                break
        elif received.si_code <= 0:  # from a process; what the terminal sends, the child gets as well
            os.kill(child, received.si_signo)
    if os.WIFSIGNALED(status):
        _die_of(os.WTERMSIG(status))
    os.set_blocking(reader, False)
    try:
        said = os.read(reader, 4096)
    except BlockingIOError:  # nothing was said, and a process that the child left holds the other end
        said = b""
    code = os.waitstatus_to_exitcode(status)
    if code == 0 and said.endswith(_BEGUN):
        text = (
            "error: the process ended itself, with exit status 0, before the run was done: something in it called "
            "exit, for example a reward of yours; take that out and run the same command to resume\n"
        )
        os.write(2, text.encode())
        code = UNFINISHED
    os._exit(code)


def _die_of(signum: int) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # the child has left a core already, if one is wanted
    if signum not in (signal.SIGKILL, signal.SIGSTOP):
        signal.signal(signum, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signum])
    os.kill(os.getpid(), signum)
    os._exit(128 + signum)
