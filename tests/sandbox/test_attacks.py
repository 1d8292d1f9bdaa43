"""The sandbox under attack, as the host sees it: nothing changes outside, nothing comes out, nothing stays behind.

The attacks are the programs in benchmarks/attacks; what the host watches is in benchmarks/host_watch.py. Here are
also those that need more than a program: conversations, odd sources, floods on standard input, a host that is killed.
"""

from __future__ import annotations

import importlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from thinkery.sandbox import ConversationEnded, Limits, Program, Sandbox, Status
from thinkery.sandbox.isolation import LEVELS, Level, probe

pytestmark = pytest.mark.slow

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
sys.path.append(str(BENCHMARKS))
host_watch = importlib.import_module("host_watch")
rewards_attacks = importlib.import_module("rewards_attacks")

ATTACKS = rewards_attacks.attacks()
CASES = [
    pytest.param(level, attack, id=f"{attack.name}-{level}", marks=[pytest.mark.alone] if attack.peak else [])
    for level in LEVELS
    for attack in ATTACKS
    if level == LEVELS[0] or attack.both
]
SHORT = Limits(wall_s=1.0, cpu_s=1.0, memory_bytes=128 << 20)


@pytest.fixture(scope="module")
def host() -> Iterator[host_watch.Host]:
    with host_watch.Host() as host, rewards_attacks.hasty_compiler():
        yield host


@pytest.fixture(scope="module")
def targets(host: host_watch.Host) -> Iterator[Callable[[Level], rewards_attacks.Target]]:
    """A sandbox of one server at each level, made when first asked for."""
    made: dict[Level, rewards_attacks.Target] = {}

    def target(level: Level) -> rewards_attacks.Target:
        if not probe(level).works:
            pytest.skip(f"no {level} here: {probe(level).detail}")
        if level not in made:
            made[level] = rewards_attacks.Target(host, Sandbox(workers=1, isolation=level))
        return made[level]

    yield target
    for one in made.values():
        one.sandbox.close()


@pytest.fixture
def target(targets: Callable[[Level], rewards_attacks.Target]) -> rewards_attacks.Target:
    """The best level that works here."""
    working = [level for level in LEVELS if probe(level).works]
    if not working:
        pytest.skip("no isolation works here")
    return targets(working[0])


@pytest.mark.parametrize(("level", "attack"), CASES)
def test_an_attack_achieves_nothing(level: Level, attack: rewards_attacks.Attack, targets: Callable) -> None:
    assert targets(level).attack(attack) == []


def test_there_are_at_least_sixty_attacks_and_each_says_what_it_tries() -> None:
    assert len({attack.name for attack in ATTACKS}) >= 60
    assert all(attack.tries.endswith(".") for attack in ATTACKS)


def test_the_watch_sees_what_an_attack_could_do() -> None:
    with host_watch.Host() as host:
        before = host.look()
        assert host.changes(before) == []
        child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
        (host.folder / "new").write_text("")
        (Path("/tmp") / host.token).write_text("")
        os.environ["X"] = os.getcwd()
        os.chdir("/")
        caller = socket.create_connection(("127.0.0.1", host.port))
        host.victim.kill()
        try:
            told = host.changes(before)
        finally:
            (Path("/tmp") / host.token).unlink()
            os.chdir(os.environ.pop("X"))
            caller.close()
            child.communicate(b"\n")
    wanted = ("processes", "files of the traps", "files written", "process_state", "called", "the victim")
    assert [any(word in line for line in told) for word in wanted] == [True] * len(wanted)


@pytest.mark.alone
def test_the_watch_sees_memory_and_processes_at_their_peak() -> None:
    grow = "x = bytearray(300 << 20)\nfor at in range(0, len(x), 4096): x[at] = 1\ninput()"
    with host_watch.Peak() as peak:
        child = subprocess.Popen([sys.executable, "-c", grow], stdin=subprocess.PIPE)
        while peak.memory_mb < 250 or peak.processes < 1:
            assert child.poll() is None
        child.communicate(b"\n")


HEAD = "import array, os, socket, struct, time\ntalk = socket.socket(fileno=3)\n"
CONVERSATIONS = {
    "claims an answer of two gigabytes": ("talk.sendall(struct.pack('>I', 2**31))\ntime.sleep(60)", {Status.OUTPUT}),
    "claims an answer of negative length": ("talk.sendall(b'\\xff' * 4)\ntime.sleep(60)", {Status.OUTPUT}),
    "never answers": ("time.sleep(60)", {Status.TIMEOUT}),
    "answers one byte at a time": (
        "for byte in struct.pack('>I', 9) * 9:\n    talk.sendall(bytes([byte]))\n    time.sleep(0.3)",
        {Status.TIMEOUT},
    ),
    "sends half an answer and ends": ("talk.sendall(struct.pack('>I', 100) + b'x' * 50)", {Status.OK}),
    "floods the host with answers": (
        "while True:\n    talk.sendall(struct.pack('>I', 1000) + b'x' * 1000)",
        {Status.TIMEOUT, Status.ERROR},
    ),
    "answers without end in one message": (
        "talk.sendall(struct.pack('>I', 16 << 20))\nwhile True:\n    talk.sendall(b'x' * 65536)",
        {Status.OUTPUT},
    ),
    "closes the channel and goes on": ("talk.close()\ntime.sleep(60)", {Status.TIMEOUT}),
    "shuts the channel down and goes on": ("talk.shutdown(socket.SHUT_RDWR)\ntime.sleep(60)", {Status.TIMEOUT}),
    "hands the host descriptors": (
        "rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', [0, 1, 2]))]\n"
        "while True:\n    talk.sendmsg([struct.pack('>I', 1) + b'x'], rights)",
        {Status.TIMEOUT, Status.ERROR},
    ),
    "speaks the sandbox's own protocol": ("talk.sendall(b'D\\0\\0\\0\\2{}' * 99)\ntime.sleep(60)", {Status.OUTPUT}),
    "hands the channel to a daemon": (
        "while os.fork() == 0:\n    os.setsid()\n    talk.sendall(struct.pack('>I', 1) + b'x')\nos._exit(0)",
        {Status.OK},
    ),
}


@pytest.mark.parametrize("what", CONVERSATIONS)
def test_a_program_in_a_conversation_that(what: str, target: rewards_attacks.Target) -> None:
    source, ends = CONVERSATIONS[what]
    before = target.host.look()
    started = time.monotonic()
    with target.sandbox.converse(Program(HEAD + source), SHORT) as conversation:
        try:
            for _ in range(3):
                assert len(conversation.ask(b"question", timeout_s=0.5)) <= 16 << 20
        except ConversationEnded:
            pass
        result = conversation.finish()
    assert time.monotonic() - started < SHORT.wall_s + rewards_attacks.LATE_S
    assert target.judge(result, ends) + target.aftermath(before) == []


def test_a_program_that_never_reads_its_questions_is_ended(target: rewards_attacks.Target) -> None:
    before = target.host.look()
    with target.sandbox.converse(Program("import time\ntime.sleep(60)"), SHORT) as conversation:
        with pytest.raises(ConversationEnded):
            conversation.ask(b"x" * (16 << 20), timeout_s=0.5)
        assert conversation.finish().status is Status.TIMEOUT
    assert target.aftermath(before) == []


SOURCES = {
    "lone surrogates": "print('\ud800\udfff')",
    "a NUL byte": "x = 1\0",
    "nothing": "",
    "ten megabytes": "x = 1  # " + "x" * (10 << 20),
    "100,000 brackets": "(" * 100_000,
    "a hundred thousand nested expressions": "-" * 100_000 + "1",
    "another encoding": "# -*- coding: utf-7 -*-\n+AHA-print(1)",
    "an encoding that nobody has": "# -*- coding: rot13-no-such -*-\n",
    "an enormous power": "x = 10 ** 10 ** 10 ** 10",
    "a byte order mark": "\ufeffx = 1",
    "carriage returns": "x = 1\rx = 2\r\nx = 3\f\v",
}


@pytest.mark.parametrize("language", ["python", "cpp"])
@pytest.mark.parametrize("what", SOURCES)
def test_a_source_of(what: str, language: str, target: rewards_attacks.Target) -> None:
    before = target.host.look()
    result = target.sandbox.run(Program(SOURCES[what], language), "", SHORT)
    assert target.judge(result, frozenset(Status) - {Status.LOST}) + target.aftermath(before) == []


@pytest.mark.parametrize("source", ["pass", "import os, time\nos.close(0)\ntime.sleep(0.1)", "input()"])
def test_fifty_megabytes_of_input_that_is_not_read_harm_nobody(source: str, target: rewards_attacks.Target) -> None:
    before = target.host.look()
    result = target.sandbox.run(Program(source), b"x" * (50 << 20), Limits(wall_s=5, memory_bytes=256 << 20))
    assert target.judge(result, frozenset({Status.OK})) + target.aftermath(before) == []


def test_a_program_cannot_change_its_input_for_its_children_or_the_host(target: rewards_attacks.Target) -> None:
    change = (
        "import os, mmap\n"
        "for action in (lambda: os.write(0, b'y'), lambda: os.ftruncate(0, 0), lambda: os.pwrite(0, b'y', 0),\n"
        "               lambda: mmap.mmap(0, 0).__setitem__(0, 1)):\n"
        "    try: action()\n    except (OSError, TypeError, ValueError): pass\n"
        "print(os.pread(0, 100, 0) if os.lseek(0, 0, 1) == 0 else os.read(0, 100))"
    )
    assert target.run(change, "untouched").stdout == "b'untouched'\n"


def test_one_programs_binary_is_never_anothers(target: rewards_attacks.Target) -> None:
    attack = next(attack for attack in ATTACKS if attack.name == "overwrite_own_binary")
    harmless = Program('#include <cstdio>\nint main() { puts("harmless"); }', "cpp")
    for _ in range(2):
        assert target.sandbox.run(attack.program, "", attack.limits).stdout == "itself\n"
        assert target.sandbox.run(harmless, "", attack.limits).stdout == "harmless\n"


@pytest.mark.parametrize("level", LEVELS)
def test_closing_the_sandbox_ends_what_it_runs(level: Level, host: host_watch.Host) -> None:
    if not probe(level).works:
        pytest.skip(f"no {level} here: {probe(level).detail}")
    before = host.look()
    attack = next(attack for attack in ATTACKS if attack.name == "ignore_signals")
    with Sandbox(workers=3, isolation=level) as sandbox:
        assert sandbox.run(Program("pass")).ok
        idle = len(host_watch.processes())
        runs = [sandbox.submit(attack.program, "", Limits(wall_s=60)) for _ in range(3)]
        while len(host_watch.processes()) < idle + 3:
            assert not any(run.done() for run in runs)
    assert all(run.cancelled() or run.exception(timeout=20) or not run.result().ok for run in runs)
    assert host.changes(before) == []


KILLED_HOST = """
import json, os, signal, sys
sys.path.append({benchmarks!r})
import host_watch
from thinkery.sandbox import Limits, Program, Sandbox
sandbox = Sandbox(workers=1, isolation={level!r})
assert sandbox.run(Program("pass")).ok
idle = len(host_watch.processes())
run = sandbox.submit(Program(sys.stdin.read()), "", Limits(wall_s=60))
while len(seen := host_watch.processes()) < idle + {daemons}:
    assert not run.done(), run.result()
print(json.dumps(seen), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("level", LEVELS)
def test_when_the_host_is_killed_nothing_of_the_sandbox_lives_on(level: Level) -> None:
    if not probe(level).works:
        pytest.skip(f"no {level} here: {probe(level).detail}")
    source = next(attack for attack in ATTACKS if attack.name == "daemons").program.source + "\ntime.sleep(60)\n"
    script = KILLED_HOST.format(benchmarks=str(BENCHMARKS), level=level, daemons=5)
    told = subprocess.run([sys.executable, "-c", script], input=source, capture_output=True, text=True, timeout=60)
    seen = [(pid, started) for pid, started in json.loads(told.stdout or "[]")]
    assert len(seen) > 5, told.stderr
    end = time.monotonic() + 10
    while (alive := [one for one in seen if host_watch.is_alive(*one)]) and time.monotonic() < end:
        pass
    assert alive == []
