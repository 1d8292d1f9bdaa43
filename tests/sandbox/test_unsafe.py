"""The level without walls: limits and results as everywhere, and nothing left behind."""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from thinkery.sandbox import Limits, Program, Sandbox, Status

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the runs' folders are made."""
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def sandbox(folders: Path) -> Iterator[Sandbox]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(folders))
        with Sandbox(workers=1, isolation="none") as sandbox:
            yield sandbox


def test_programs_run_as_in_every_other_level(sandbox: Sandbox) -> None:
    result = sandbox.run(Program("import sys; print(input(), __name__); sys.exit(3)"), "hello")
    assert (result.status, result.exit_code, result.stdout) == (Status.ERROR, 3, "hello __main__\n")
    raised = sandbox.run(Program("def f():\n    1 / 0\nf()"))
    assert 'program.py", line 2, in f' in raised.stderr
    assert raised.stderr.endswith("ZeroDivisionError: division by zero\n")
    assert sandbox.run(
        Program("import os; print('HOME' in os.environ, 'PYTEST_CURRENT_TEST' in os.environ)")
    ).stdout == ("True False\n")


def test_each_run_has_a_folder_of_its_own_that_goes_with_it(sandbox: Sandbox, folders: Path) -> None:
    code = "import os; os.makedirs('a/b'); open('a/b/c', 'w'); os.chmod('a', 0); print(os.getcwd())"
    first, second = (sandbox.run(Program(code)).stdout for _ in range(2))
    assert first != second
    assert Path(first.strip()).parent == Path(second.strip()).parent
    assert Path(first.strip()).is_relative_to(folders)
    assert not runs_left(folders)


def test_cpp_programs_compile_and_run(sandbox: Sandbox) -> None:
    if shutil.which("g++") is None:
        pytest.skip("no g++")
    source = "#include <iostream>\nint main() { long n; std::cin >> n; std::cout << n * n; }"
    assert sandbox.run(Program(source, "cpp"), "12").stdout == "144"
    assert sandbox.run(Program("int main() { return x; }", "cpp")).status is Status.COMPILE_ERROR


def test_programs_can_be_talked_to(sandbox: Sandbox) -> None:
    code = (
        "import socket, struct\nchannel = socket.socket(fileno=3)\n"
        "message = channel.recv(struct.unpack('>I', channel.recv(4))[0])\n"
        "channel.sendall(struct.pack('>I', len(message)) + message[::-1])\n"
    )
    with sandbox.converse(Program(code)) as conversation:
        assert conversation.ask(b"abc", 30.0) == b"cba"
        assert conversation.finish().ok


@pytest.mark.parametrize(
    ("code", "limits", "status"),
    [
        ("while True: pass", Limits(wall_s=0.5), Status.TIMEOUT),
        ("import os\nfor _ in range(3): os.fork()\nwhile True: pass", Limits(cpu_s=0.5), Status.TIMEOUT),
        ("b'x' * 2**30", Limits(), Status.MEMORY),
        (
            "import os, time\nfor _ in range(3): os.fork()\nx = b'x' * (30 << 20)\ntime.sleep(30)",
            Limits(memory_bytes=128 << 20),
            Status.MEMORY,
        ),
        ("import os\nfor _ in range(8): os.fork()\nwhile True: pass", Limits(wall_s=5.0), Status.ERROR),
        (
            "for n in range(10**6):\n    with open(str(n), 'wb') as file: file.write(b'x' * 2**20)",
            Limits(disk_bytes=32 << 20),
            Status.ERROR,
        ),
        ("while True: print('x' * 1000)", Limits(output_bytes=10_000), Status.OUTPUT),
    ],
)
def test_limits_hold(sandbox: Sandbox, folders: Path, code: str, limits: Limits, status: Status) -> None:
    assert sandbox.run(Program(code), "", limits).status is status
    assert not runs_left(folders)
    assert sandbox.run(Program("print('next')")).stdout == "next\n"


def test_what_a_run_leaves_running_is_killed(sandbox: Sandbox, tmp_path: Path) -> None:
    code = f"""
import os, signal, time
reader, writer = os.pipe()
for _ in range(3):
    if os.fork() == 0:
        if os.fork() == 0:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            try:
                os.setsid()
            except PermissionError:
                pass
            with open({str(tmp_path)!r} + "/" + str(os.getpid()), "w"): pass
            os.write(writer, b"x")
            time.sleep(600)
        os._exit(0)
for _ in range(3):
    os.read(reader, 1)
"""
    tmp_path.chmod(0o777)
    assert sandbox.run(Program(code)).ok
    pids = [int(path.name) for path in tmp_path.iterdir()]
    assert len(pids) == 3
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_there_is_no_network_here_either(sandbox: Sandbox) -> None:
    result = sandbox.run(Program("import socket; socket.socket()"))
    assert "Address family not supported" in result.stderr


@pytest.mark.parametrize("in_flight", [True, False])
def test_a_killed_owner_leaves_neither_processes_nor_files(tmp_path: Path, in_flight: bool) -> None:
    begun, temporary = tmp_path / "begun", tmp_path / "temporary"
    os.mkfifo(begun)
    temporary.mkdir()
    program = f"import os, time\nos.fork()\nopen({str(begun)!r}, 'w').close()\ntime.sleep(600)"
    code = (
        "import threading\nfrom thinkery.sandbox import Limits, Program, Sandbox\n"
        "sandbox = Sandbox(workers=1, isolation='none')\n"
        f"sandbox.submit(Program({program!r}), '', Limits(wall_s=600.0))\n"
        "print('ready', flush=True)\nthreading.Event().wait()\n"
    )
    environment = {**os.environ, "TMPDIR": str(temporary)}
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=environment) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == "ready\n"
        if in_flight:
            begun.open().close()
        watched = [os.pidfd_open(pid) for pid in descendants(owner.pid)]
        assert watched
        owner.send_signal(signal.SIGKILL)
    for descriptor in watched:
        assert select.select([descriptor], [], [], 30.0)[0]
        os.close(descriptor)
    deadline = time.monotonic() + 30.0  # for a keeper that was forked after the list above
    while list(temporary.iterdir()) and time.monotonic() < deadline:
        os.sched_yield()
    assert not list(temporary.iterdir())


def runs_left(folders: Path) -> list[Path]:
    """The runs' folders that are still there; a server's own stays as long as it."""
    (server,) = folders.iterdir()
    return list(server.iterdir())


def descendants(pid: int) -> list[int]:
    output = subprocess.run(["ps", "-e", "-o", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    parents = dict(map(int, line.split()) for line in output.splitlines())
    found = [child for child, parent in parents.items() if parent == pid]
    return found + [deeper for child in found for deeper in descendants(child)]
