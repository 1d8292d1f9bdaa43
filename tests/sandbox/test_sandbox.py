"""The pool: many runs at once, conversations, workers that die, and nothing left behind."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

import thinkery.sandbox
from thinkery.sandbox import ConversationEnded, Limits, Program, RunResult, Sandbox, Status, run_python
from thinkery.types import UserError

pytestmark = pytest.mark.slow

Run = Callable[..., RunResult]
Descendants = Callable[[int], set[int]]

ECHO = """
import os, struct
def exactly(count):
    data = b""
    while len(data) < count:
        part = os.read(3, count - len(data))
        if not part:
            print("no more")
            raise SystemExit(0)
        data += part
    return data
while True:
    message = exactly(struct.unpack(">I", exactly(4))[0])
    if message == b"hang":
        while True: pass
    if message == b"leave":
        raise SystemExit(5)
    answer = struct.pack(">I", len(message)) + message[::-1]
    while answer:
        answer = answer[os.write(3, answer):]
"""


def test_the_readme_example() -> None:
    assert run_python("print(int(input()) + 1)", "41").stdout == "42\n"


def test_many_threads_get_their_own_answers(sandbox: Sandbox) -> None:
    program = Program("n = int(input())\nprint(n * n)")
    with ThreadPoolExecutor(8) as pool:
        results = pool.map(lambda n: sandbox.run(program, str(n)), range(60))
        assert [result.stdout for result in results] == [f"{n * n}\n" for n in range(60)]


def test_submitted_runs_come_as_futures(sandbox: Sandbox) -> None:
    futures = [sandbox.submit(Program("print(input())"), str(n)) for n in range(10)]
    assert [future.result(timeout=30).stdout for future in futures] == [f"{n}\n" for n in range(10)]


def test_a_thousand_runs_leave_nothing_behind(descendants: Descendants) -> None:
    def state() -> dict[str, object]:
        ours = descendants(os.getpid())
        users = {os.stat(f"/proc/{process}").st_uid for process in ours} - {os.geteuid()}
        return {
            "processes": ours,
            "descriptors": sorted(os.listdir("/proc/self/fd")),
            "files": [entry.name for entry in os.scandir("/tmp") if entry.stat(follow_symlinks=False).st_uid in users],
            "mounts": Path("/proc/self/mountinfo").read_text(),
        }

    hostile = [
        "import os\nfor i in range(9):\n    if os.fork() == 0:\n        os.setsid()\n        while True: pass",
        "open('/tmp/left', 'w').write('x' * 1000)",
        "import socket\ns = socket.socket(socket.AF_UNIX)\ns.bind('\\0left')\ns.listen()",
        "raise ValueError",
    ]
    with Sandbox(workers=2) as sandbox:
        for source in hostile:
            sandbox.run(Program(source), limits=Limits(wall_s=2))
        with sandbox.converse(Program("")), sandbox.converse(Program("")):
            pass  # now both workers are there
        before = state()
        futures = [sandbox.submit(Program(hostile[n % 4] if n % 10 == 0 else "")) for n in range(1000)]
        assert all(future.result(timeout=60).status is not Status.LOST for future in futures)
        assert state() == before


def test_a_closed_sandbox_has_no_processes_and_says_so(descendants: Descendants) -> None:
    before = descendants(os.getpid())
    sandbox = Sandbox(workers=2)
    sandbox.run(Program(""))
    started = descendants(os.getpid()) - before
    assert started
    sandbox.close()
    sandbox.close()
    assert not started & descendants(os.getpid())
    with pytest.raises(UserError, match="closed"):
        sandbox.run(Program(""))


def test_closing_ends_a_run_in_another_thread() -> None:
    own = Sandbox(workers=1)
    with own.converse(Program(ECHO), Limits(wall_s=600, cpu_s=600)) as talk:
        assert talk.ask(b"ab", 20) == b"ba"  # it runs
        closer = threading.Timer(0.2, own.close)
        closer.start()
        with pytest.raises(ConversationEnded):
            talk.ask(b"hang", 600)
        assert talk.finish().status is Status.LOST
    closer.join()
    with pytest.raises(UserError, match="closed"):
        own.run(Program(""))


def test_runs_cannot_see_each_others_shared_memory(python: Run) -> None:
    for _ in range(2):
        assert python('open("/dev/shm/left", "w").write("x")').ok
    for _ in range(4):
        assert python('import os; print(os.listdir("/dev/shm"))').stdout == "['program.py']\n"


def test_a_conversation_is_questions_and_answers(sandbox: Sandbox) -> None:
    with sandbox.converse(Program(ECHO)) as talk:
        for message in (b"", b"abc", bytes(range(256)) * 40_000):
            assert talk.ask(message, 20) == message[::-1]
        result = talk.finish()
        assert result.ok
        assert result.stdout == "no more\n"
        with pytest.raises(ConversationEnded):
            talk.ask(b"more", 1)


def test_a_program_that_does_not_answer_is_ended(sandbox: Sandbox) -> None:
    with sandbox.converse(Program(ECHO)) as talk:
        with pytest.raises(ConversationEnded):
            talk.ask(b"hang", 0.2)
        assert talk.finish().status is Status.TIMEOUT
    with sandbox.converse(Program(ECHO)) as talk:
        with pytest.raises(ConversationEnded):
            talk.ask(b"leave", 20)
        assert talk.finish().exit_code == 5


def test_leaving_a_conversation_ends_the_program_at_once(sandbox: Sandbox) -> None:
    with sandbox.converse(Program("while True: pass"), Limits(wall_s=600, cpu_s=600)):
        pass
    assert sandbox.run(Program("print(1)")).ok


def test_a_program_that_ends_just_then_costs_no_worker() -> None:
    with Sandbox(workers=1) as own:
        assert own.run(Program("")).ok
        [worker] = own._all
        for _ in range(50):
            with own.converse(Program("")):
                pass
        assert own._all == {worker}


@pytest.mark.parametrize(
    ("source", "status"),
    [
        ("import os\nos.read(3, 4)\nos.write(3, b'\\xff' * 100)\nwhile True: pass", Status.OUTPUT),
        ("import os\nos.read(3, 4)\nos.close(3)\nwhile True: pass", Status.TIMEOUT),
        ("import os\nos.read(3, 4)\nos.write(3, b'\\0\\0')", Status.OK),
        ("while True: print('x' * 1000)", Status.OUTPUT),
    ],
)
def test_a_program_that_breaks_the_conversation_gets_what_it_did(source: str, status: Status, sandbox: Sandbox) -> None:
    with sandbox.converse(Program(source)) as talk:
        with pytest.raises(ConversationEnded):
            talk.ask(b"?", 1)
        assert talk.finish().status is status


def test_a_message_nobody_asked_for_waits_its_turn(sandbox: Sandbox) -> None:
    source = "import os, struct\nfor n in range(3): os.write(3, struct.pack('>I', 1) + str(n).encode())\nos.read(3, 99)"
    with sandbox.converse(Program(source)) as talk:
        assert talk.ask(b"", 20) == b"0"


def test_cpp_converses_too(sandbox: Sandbox) -> None:
    if not shutil.which("g++", path="/usr/bin:/bin"):
        pytest.skip("there is no g++ here")
    source = "#include <unistd.h>\nint main() { char b[99]; for (long n; (n = read(3, b, 99)) > 0;) write(3, b, n); }"
    with sandbox.converse(Program(source, "cpp")) as talk:
        assert talk.ask(b"ping", 20) == b"ping"
    with sandbox.converse(Program("int main(", "cpp")) as talk:
        with pytest.raises(ConversationEnded):
            talk.ask(b"ping", 20)
        assert talk.finish().status is Status.COMPILE_ERROR


def kill_servers(processes: set[int]) -> None:
    """Kills them as one: stopped first, or the supervisor may still tell of the death of a process killed before it."""
    for number in (signal.SIGSTOP, signal.SIGKILL):
        for process in processes:
            with suppress(OSError):  # the ones before may have taken it along
                if "serve(supervise)" in Path(f"/proc/{process}/cmdline").read_text():
                    os.kill(process, number)


def test_a_server_that_was_killed_is_replaced(descendants: Descendants) -> None:
    others = descendants(os.getpid())
    with Sandbox(workers=1) as sandbox:
        assert sandbox.run(Program("print(1)")).ok
        kill_servers(descendants(os.getpid()) - others)
        assert sandbox.run(Program("print(2)")).stdout == "2\n"
        with sandbox.converse(Program(ECHO)) as talk:
            assert talk.ask(b"ab", 20) == b"ba"
            kill_servers(descendants(os.getpid()) - others)
            with pytest.raises(ConversationEnded):
                talk.ask(b"ab", 20)
            assert talk.finish().status is Status.LOST
        assert sandbox.run(Program("print(3)")).stdout == "3\n"


def test_a_worker_outlives_the_thread_that_first_needed_it(sandbox: Sandbox) -> None:
    with Sandbox(workers=1) as own:
        thread = threading.Thread(target=own.run, args=(Program(""),))
        thread.start()
        thread.join()
        [worker] = own._all
        assert own.run(Program("print(1)")).ok
        assert own._all == {worker}


def test_when_the_host_is_killed_everything_ends(descendants: Descendants, ends: Callable[[set[int]], bool]) -> None:
    source = f"""
from thinkery.sandbox import Limits, Program, Sandbox
sandbox = Sandbox(workers=2)
with sandbox.converse(Program({ECHO!r}), Limits(wall_s=600)) as talk:
    talk.ask(b"x", 20)
    print("running", flush=True)
    talk.ask(b"hang", 600)
"""
    host = subprocess.Popen([sys.executable, "-c", source], stdout=subprocess.PIPE)
    assert host.stdout is not None
    assert host.stdout.readline() == b"running\n"
    inside = descendants(host.pid)
    assert len(inside) >= 5
    host.kill()
    host.wait()
    host.stdout.close()
    assert ends(inside)


def test_after_a_fork_the_child_gets_a_sandbox_of_its_own(sandbox: Sandbox) -> None:
    sandbox.run(Program(""))
    source = """
import os
from thinkery.sandbox import Program, Sandbox, run_python
from thinkery.types import UserError
old = Sandbox(workers=1)
print(old.run(Program("print(1)")).stdout, run_python("print(2)").stdout, end="", flush=True)
if os.fork() == 0:
    try:
        old.run(Program(""))
    except UserError as error:
        print("own" if "after a fork" in str(error) else error)
    print(run_python("print(3)").stdout, end="", flush=True)
else:
    os.wait()
    print(old.run(Program("print(4)")).stdout, run_python("print(5)").stdout, end="")
"""
    result = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, timeout=60)
    assert result.stdout.split() == ["1", "2", "own", "3", "4", "5"], result.stderr


def test_it_works_for_a_user_who_is_not_root() -> None:
    if os.geteuid() != 0:
        pytest.skip("we are that user already: every other test shows it")
    if not shutil.which("setpriv"):
        pytest.skip("needs setpriv to become another user")
    check = [bubblewrap_python := "/usr/bin/python3", "-c", "import sys; sys.exit(sys.version_info < (3, 11))"]
    if not os.path.exists(bubblewrap_python) or subprocess.run(check, check=False).returncode != 0:
        pytest.skip("needs a system Python of 3.11 or newer, which another user can reach")
    source = Path(thinkery.sandbox.__file__).parents[1]
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:  # pytest's own folders are closed to others
        os.chmod(folder, 0o755)
        package = Path(folder, "thinkery")
        shutil.copytree(source / "sandbox", package / "sandbox", ignore=shutil.ignore_patterns("__pycache__"))
        for name in ("__init__.py", "types.py"):
            shutil.copy(source / name, package / name)
        program = (
            "from thinkery.sandbox import run_python, Limits\n"
            "print(run_python('import os; print(os.getuid(), input())', 'hi').stdout, end='')\n"
            "bomb = run_python('import os\\nwhile True: os.fork()', limits=Limits(wall_s=5))\n"
            "print(bomb.status, run_python('print(1)').stdout, end='')\n"
        )
        command = ["setpriv", "--reuid", "1000", "--regid", "1000", "--clear-groups", "--no-new-privs"]
        command += ["env", "-i", f"PYTHONPATH={folder}", "PYTHONDONTWRITEBYTECODE=1", bubblewrap_python, "-c", program]
        result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert result.stdout == "1000 hi\nerror 1\n", result.stderr


def test_mistakes_are_named() -> None:
    with pytest.raises(UserError, match="at least one worker"):
        Sandbox(workers=0)
    with Sandbox(workers=1) as sandbox, pytest.raises(UserError, match="not 'cobol'"):
        sandbox.run(Program("", "cobol"))  # type: ignore[arg-type]
