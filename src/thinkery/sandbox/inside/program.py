"""The last steps inside the untrusted program's own process: give up every right, then become the program.

Python source runs in this very process, forked from the warm server, as a module named ``__main__`` with the
semantics of ``python program.py``: arguments, tracebacks, exit codes, ``atexit``, threads. Two things are fixed so
that a program does the same every time: string hashing, and ``random``, seeded with 0. Machine code and compilers
replace the process. Left out: what happens around it (``supervisor``, ``jail``).
"""

from __future__ import annotations

import atexit
import gc
import linecache
import os
import resource
import signal
import sys
import threading
import types
from typing import Any, NamedTuple, NoReturn

from . import frames, inherited, landlock, seccomp, syscalls

FOLDER = "/tmp"  # the only place a run can write to
SOURCE = f"{FOLDER}/program.py"
BINARY = f"{FOLDER}/program"
ENVIRONMENT = {"HOME": FOLDER, "LANG": "C.UTF-8", "PATH": "/usr/bin:/bin", "TMPDIR": FOLDER, "PYTHONHASHSEED": "0"}
NATIVE_STACK_BYTES = 64 << 20
PENDING_SIGNALS = 1024
NICENESS = 3  # the supervisor must get a processor before the many processes that it shall stop
READABLE = ("/usr", "/bin", "/lib", "/lib64", "/etc")
DEVICES = ("/dev/null", "/dev/random", "/dev/urandom")


class Job(NamedTuple):
    """What an untrusted process shall become: Python source, or a command to execute."""

    source: bytes | None = None
    command: tuple[str, ...] = ()


def prepare() -> None:
    """Do once in the server what would cost time in every run."""
    os.umask(0o077)
    os.environ.clear()
    os.environ.update(ENVIRONMENT)
    syscalls.drop_future_capabilities()
    package = __name__.split(".")[0]
    for name in [name for name in sys.modules if name.split(".")[0] == package]:
        del sys.modules[name]  # a program could not import what it sees of us anyway
    open_streams()


def open_streams() -> None:
    """Make the standard streams of the programs to come, which nobody else may use."""
    os.dup2(2, 1)  # two pipes, as a program will have: streams remember what they were opened on
    for number, name, mode, errors in (
        (0, "stdin", "r", "surrogateescape"),
        (1, "stdout", "w", "surrogateescape"),
        (2, "stderr", "w", "backslashreplace"),
    ):
        buffering = 1 if name == "stderr" else -1
        stream = open(number, mode, buffering, encoding="utf-8", errors=errors, closefd=False)  # noqa: SIM115
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


def confine(request: dict[str, Any], config: dict[str, Any], given: list[int], report: int) -> Job:
    """Give up every right this process has beyond the run's, and return what it shall become.

    ``given`` is the descriptor to read the program from, and those that become 0, 1, 2 and, in a conversation, 3. Of
    the others only ``report`` stays open, for the caller to close.
    """
    os.setsid()
    with open(given[0], "rb", buffering=0) as file:
        program = file.read()
    descriptors = given[1:]
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)
        os.set_inheritable(number, True)  # dup2 leaves a descriptor alone that has its number already
    os.closerange(len(descriptors), report)  # its number is above 3: the server has that many open itself
    os.closerange(report + 1, resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    job = _put_in_place(request, program)
    if len(descriptors) > frames.CHANNEL_FD:
        os.environ["THINKERY_CHANNEL"] = str(frames.CHANNEL_FD)
    _set_limits(request)
    os.nice(NICENESS)
    syscalls.forbid_huge_pages()
    syscalls.drop_capabilities()
    if config["landlock"]:
        landlock.restrict([*READABLE, *config["readable"]], [FOLDER], DEVICES)
    seccomp.install(config["new_groups"])
    return job


def become(job: Job) -> NoReturn:
    """Run the job in this process. To be called from the top of the interpreter's stack."""
    if job.source is None:
        # Ignored here, by Python or by the server, and an ignored signal stays so over execve.
        for name in ("SIGINT", "SIGPIPE", "SIGXFSZ"):
            signal.signal(getattr(signal, name), signal.SIG_DFL)
        os.execv(job.command[0], job.command)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    main = _fresh_main()
    error: BaseException | None = None
    try:
        exec(compile(job.source, SOURCE, "exec", dont_inherit=True), main.__dict__)
    except BaseException as raised:
        error = raised
    _end(error)


def _put_in_place(request: dict[str, Any], program: bytes) -> Job:
    os.chdir(FOLDER)
    kind = request["kind"]
    if kind == "python":
        _write(SOURCE, program)
        return Job(source=program)
    if kind == "native":
        _write(BINARY, program, mode=0o700)
        return Job(command=(BINARY,))
    _write(request["source_path"], program)
    return Job(command=tuple(request["command"]))


def _write(path: str, content: bytes, mode: int = 0o600) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    with open(descriptor, "wb", buffering=0) as file:
        file.write(content)


def wanted_limits(request: dict[str, Any]) -> dict[int, tuple[int, int]]:
    """The limits of a run's processes, soft and hard, as far as the machine leaves them."""
    limits = request["limits"]
    cpu = int(limits["cpu_s"]) + 2  # a backstop; the supervisor watches the sum over processes more closely
    pairs = {
        resource.RLIMIT_CPU: (cpu, cpu + 1),
        resource.RLIMIT_AS: (limits["memory_bytes"],) * 2,
        resource.RLIMIT_NOFILE: (limits["open_files"],) * 2,
        resource.RLIMIT_FSIZE: (limits["file_bytes"],) * 2,
        resource.RLIMIT_CORE: (1, 1),  # 0 would still start a handler of core dumps, as root outside; see core(5)
        resource.RLIMIT_RTPRIO: (0, 0),
        resource.RLIMIT_NICE: (0, 0),
        resource.RLIMIT_MEMLOCK: (0, 0),
        resource.RLIMIT_MSGQUEUE: (0, 0),
        resource.RLIMIT_SIGPENDING: (PENDING_SIGNALS,) * 2,  # and timers
    }
    if request.get("process_limit") is not None:
        pairs[resource.RLIMIT_NPROC] = (request["process_limit"],) * 2
    if request["kind"] != "python":
        pairs[resource.RLIMIT_STACK] = (NATIVE_STACK_BYTES,) * 2
    return pairs


def _set_limits(request: dict[str, Any]) -> None:
    for which, (soft, hard) in wanted_limits(request).items():
        inherited.set_limit(which, soft, hard)


def _fresh_main() -> types.ModuleType:
    """A ``__main__`` as ``python program.py`` has it."""
    import random  # not at the top: the server prepares its import

    main = types.ModuleType("__main__")
    main.__dict__.update(__file__=SOURCE, __builtins__=sys.modules["builtins"], __annotations__={})
    sys.modules["__main__"] = main
    sys.argv = [SOURCE]
    sys.path[0] = FOLDER
    linecache.clearcache()
    random.seed(0)
    os.register_at_fork(after_in_child=random.seed)  # as ``random`` itself does; the server held it back
    gc.enable()
    return main


def _end(error: BaseException | None) -> NoReturn:
    """End as the interpreter would, without the time it takes to tear every module down."""
    code = _exit_code(error)
    try:
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
    except BaseException as raised:
        code = _exit_code(raised)
    for stream in (sys.stdout, sys.stderr):
        try:
            if not stream.closed:
                stream.flush()
        except Exception:
            code = code or 120  # CPython's code for output that could not be written
    os._exit(code)


def _exit_code(error: BaseException | None) -> int:
    if error is None:
        return 0
    if not isinstance(error, SystemExit):
        # The first frame is become(), which is not the program's.
        traceback = error.__traceback__.tb_next if error.__traceback__ else None
        sys.excepthook(type(error), error.with_traceback(traceback), traceback)
        return 1
    if error.code is None:
        return 0
    if isinstance(error.code, int):
        return error.code & 0xFF
    print(error.code, file=sys.stderr)
    return 1
