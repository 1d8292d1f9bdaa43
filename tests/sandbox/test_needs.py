"""Limits that thinkery itself was started under, as on hardened systems: real children with lowered hard limits."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from thinkery.sandbox import cpp, needs
from thinkery.sandbox.isolation import LEVELS, probe
from thinkery.types import UserError

Under = Callable[[Mapping[str, int]], Callable[[], None]]

PROBES = """
import json
from thinkery.sandbox import isolation
from thinkery.types import UserError
probes = {level: isolation.probe(level) for level in isolation.LEVELS}
found = {level: [probe.works, probe.detail, probe.advice] for level, probe in probes.items()}
try:
    found["chosen"] = isolation.choose_isolation().level
except UserError as error:
    found["error"] = str(error)
print(json.dumps(found))
"""
RUNS = """
import json, sys
from thinkery.sandbox import Limits, Program, Sandbox
with Sandbox(workers=1, isolation=sys.argv[2]) as sandbox:
    for source, language, stdin_bytes in json.loads(sys.argv[1]):
        result = sandbox.run(Program(source, language), b"x" * stdin_bytes, Limits(wall_s=30.0))
        print(json.dumps([result.status, result.stdout, result.reason]))
"""
DEEP = """
volatile char sink;
int down(int left) {
    volatile char frame[1 << 16];
    frame[0] = char(left);
    int below = left ? down(left - 1) : 0;
    sink = frame[0];
    return below + 1;
}
int main() { return down(300) != 301; }
"""  # 19 MiB of stack

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not any(probe(level).works for level in LEVELS), reason="no isolation works here"),
]


def _child(code: str, *arguments: str, first: Callable[[], None]) -> str:
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, preexec_fn=first)
    assert done.returncode == 0, done.stderr
    return done.stdout


def _runs(first: Callable[[], None], *runs: tuple[str, str, int], isolation: str = "auto") -> list[list[Any]]:
    return [json.loads(line) for line in _child(RUNS, json.dumps(runs), isolation, first=first).splitlines()]


@pytest.mark.parametrize(
    "limits",
    [{"CORE": 0}, {"STACK": 8 << 20, "NOFILE": 48, "CPU": 4, "AS": 300 << 20, "FSIZE": 1 << 20, "SIGPENDING": 8}],
    ids=str,
)
def test_hard_limits_are_worked_within(limits: dict[str, int], under: Under) -> None:
    found = json.loads(_child(PROBES, first=under(limits)))
    for level in LEVELS:
        assert found[level][0] == probe(level).works, found[level]
    assert found["chosen"] == next(level for level in LEVELS if probe(level).works)


def test_they_are_worked_within_without_isolation_too(under: Under) -> None:
    limits = {"CORE": 0, "STACK": 8 << 20, "CPU": 4, "AS": 300 << 20}
    assert _runs(under(limits), ("print('works')", "python", 0), isolation="none") == [["ok", "works\n", ""]]


def test_what_is_said_to_be_needed_is_enough(under: Under) -> None:
    numbers = {getattr(resource, f"RLIMIT_{name}"): name for name in ("AS", "CPU", "DATA", "FSIZE", "NOFILE", "STACK")}
    numbers |= {resource.RLIMIT_NPROC: "NPROC"}
    found = json.loads(_child(PROBES, first=under({numbers[which]: least for which, least in needs.needs().items()})))
    for level in LEVELS:
        assert found[level][0] == probe(level).works, found[level]


@pytest.mark.parametrize(
    ("limits", "value", "needed", "how"),
    [
        ({"NPROC": 1}, "processes of a user that thinkery was started under is 1 (ulimit -u)", "", "LimitNPROC="),
        ({"FSIZE": 4096}, "is 4 KiB (ulimit -f)", "the sandbox needs 64 KiB", "fsize in /etc/security/limits.conf"),
    ],
    ids=["processes", "size of files"],
)
def test_a_limit_too_small_is_named_with_its_value_and_cure(
    limits: dict[str, int], value: str, needed: str, how: str, under: Under
) -> None:
    found = json.loads(_child(PROBES, first=under(limits)))
    for level in LEVELS:
        if probe(level).works:
            working, detail, advice = found[level]
            assert not working
            assert value in detail
            assert (needed or f"the sandbox needs {needs.needs()[resource.RLIMIT_NPROC]}"[:-1]) in detail
            assert "raise the hard limit" in advice
            assert how in advice
    assert value in found["error"]
    assert "unsafe" not in found["error"]
    assert "SandboxFusion" in found["error"]


def test_too_few_descriptors_are_named(under: Under) -> None:
    if not probe("bubblewrap").works:
        pytest.skip("the other level needs fewer than Python itself")
    working, detail, advice = json.loads(_child(PROBES, first=under({"NOFILE": 18})))["bubblewrap"]
    assert not working
    assert "the limit on open files that thinkery was started under is 18 (ulimit -n); the sandbox needs" in detail
    assert "nofile in /etc/security/limits.conf" in advice


def test_a_soft_limit_alone_binds_no_program_and_is_cured_in_the_shell(under: Under) -> None:
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    writes = "open('x', 'wb').write(bytes(1 << 20)); print('written')"
    assert _runs(
        lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (64 << 10, hard)),
        (writes, "python", 0),
    ) == [["ok", "written\n", ""]]
    found = json.loads(_child(PROBES, first=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))))
    assert "in the shell that starts thinkery: ulimit -Sf 64" in found["error"]


def test_a_run_that_a_lowered_limit_ends_says_so(under: Under) -> None:
    limits = {"STACK": 8 << 20, "CPU": 1, "AS": 256 << 20, "FSIZE": 8 << 20, "CORE": 0}
    runs = [
        ("print('works')", "python", 0),
        ("while True: pass", "python", 0),
        ("block = bytearray(300 << 20)", "python", 0),
        ("print('works')", "python", 9 << 20),
    ]
    fine, busy, large, fed, *native = _runs(under(limits), *runs, *([(DEEP, "cpp", 0)] if _has_compiler() else []))
    assert fine == ["ok", "works\n", ""]
    assert busy[0] == "timeout"
    assert "over 1 s of CPU time" in busy[2]
    assert "CPU time of a process that thinkery was started under is 1 s (ulimit -t)" in busy[2]
    assert large[0] == "memory"
    assert "(ulimit -v)" in large[2]
    assert fed[0] == "lost"
    assert "File too large" in fed[2]
    for status, _, reason in native:
        assert status == "error"
        assert "SIGSEGV" in reason
        assert "the limit on the stack that thinkery was started under is 8192 KiB (ulimit -s)" in reason


def test_a_compiler_that_fails_under_a_lowered_limit_says_so(under: Under) -> None:
    if not _has_compiler():
        pytest.skip("there is no compiler")
    [[status, _, reason]] = _runs(under({"AS": 48 << 20}), ("int main() {}", "cpp", 0))
    assert status == "compile_error"
    assert "the limit on address space that thinkery was started under is 49152 KiB (ulimit -v)" in reason


def test_a_handler_of_core_dumps_that_cannot_be_kept_away_is_told(under: Under) -> None:
    code = (
        "from thinkery.sandbox import needs; print(needs.core_dumps('|/usr/lib/handler %P'), needs.core_dumps('core'))"
    )
    assert "a crash starts this machine's handler" in _child(code, first=under({"CORE": 0}))
    assert _child(code, first=under({"CORE": 1})).strip() == ""


@pytest.mark.skipif(os.geteuid() != 0, reason="root's servers have a user of their own, whose processes are few")
def test_other_processes_of_the_user_count_for_whoever_is_not_root(under: Under) -> None:
    code = (
        "import os, resource, threading, time\n"
        "from thinkery.sandbox import needs\n"
        "as_root = needs.needs()[resource.RLIMIT_NPROC]\n"
        "os.setresuid(1_999_999_999, 1_999_999_999, 1_999_999_999)\n"
        "end = threading.Event()\n"
        "others = [threading.Thread(target=end.wait) for _ in range(3)]\n"
        "for other in others: other.start()\n"
        "print(needs.needs()[resource.RLIMIT_NPROC] - as_root)\n"
        "end.set()\n"
    )
    assert _child(code, first=under({})).strip() == "4"


def _has_compiler() -> bool:
    try:
        cpp.compiler()
    except UserError:
        return False
    return True
