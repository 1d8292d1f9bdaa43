"""What ``thinkery doctor`` says of the sandbox: real programs in every isolation that works here."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping

import pytest

from thinkery.sandbox.doctor import Diagnosis, diagnose, render
from thinkery.sandbox.isolation import LEVELS, probe

pytestmark = pytest.mark.slow

Under = Callable[[Mapping[str, int]], Callable[[], None]]


@pytest.fixture(scope="module")
def findings() -> dict[str, Diagnosis]:
    return {finding.name: finding for finding in diagnose()}


def test_the_first_finding_is_the_verdict(findings: dict[str, Diagnosis]) -> None:
    working = [level for level in LEVELS if probe(level).works]
    name, verdict = next(iter(findings.items()))
    assert name == "untrusted programs"
    assert verdict.ok == bool(working)
    if working:
        assert f"run under {working[0]}" in verdict.detail
        assert "no network" in verdict.detail


@pytest.mark.parametrize("level", LEVELS)
def test_each_isolation_is_tried_with_real_programs(findings: dict[str, Diagnosis], level: str) -> None:
    isolation = findings[f"isolation: {level}"]
    if not isolation.ok:
        assert isolation.advice
        assert f"{level}: Python" not in findings
        return
    python, memory, cpp = (findings[f"{level}: {name}"] for name in ("Python", "memory", "C++"))
    assert python.ok
    assert re.search(r"3\.\d+\.\d+ /\S+, [\d.]+ ms", python.detail)
    assert memory.ok
    assert "128 MiB" in memory.detail
    assert cpp.ok == (shutil.which("g++") is not None or shutil.which("clang++") is not None)
    assert re.search(r"ms to compile", cpp.detail) if cpp.ok else "install" in cpp.advice


def test_where_nothing_works_it_says_so_and_what_helps() -> None:
    code = (
        "from thinkery.sandbox.inside import seccomp; seccomp.install()\n"
        "from thinkery.sandbox.doctor import diagnose, render\nprint(render(diagnose()))"
    )
    text = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True).stdout
    lines = text.splitlines()
    assert lines[0].startswith("NO  untrusted programs")
    assert "refused" in lines[0]
    assert [line[:2] for line in lines if not line.startswith(" ")] == ["NO"] * 3
    assert "--unsafe-local" in text
    assert "seccomp=unconfined" in text


DOCTOR = "from thinkery.sandbox.doctor import diagnose, render\nprint(render(diagnose()))"


def doctor(first: Callable[[], None]) -> str:
    command = [sys.executable, "-c", DOCTOR]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True, preexec_fn=first).stdout


def test_limits_that_programs_get_less_for_are_told(under: Under) -> None:
    text = doctor(under({"STACK": 8 << 20, "CORE": 0}))
    if any(probe(level).works for level in LEVELS):
        assert text.startswith("ok  untrusted programs")
        assert "NO" not in text
    less = "the limit on the stack that thinkery was started under is 8192 KiB (ulimit -s), and the sandbox would allow"
    assert f"{less} 65536 KiB" in text


def test_where_a_limit_is_too_small_weaker_isolation_is_no_advice(under: Under) -> None:
    text = doctor(under({"NPROC": 1}))
    assert text.startswith("NO  untrusted programs")
    if any(probe(level).works for level in LEVELS):
        assert "processes of a user that thinkery was started under is 1 (ulimit -u)" in text
        assert "raise the hard limit on processes of a user" in text
        assert "unsafe" not in text


def test_lines_are_aligned_and_advice_stands_below_what_fails() -> None:
    text = render([Diagnosis("a", True, "fine", "unused"), Diagnosis("longer", False, "broken", "mend it")])
    assert text.splitlines() == ["ok  a       fine", "NO  longer  broken", "            -> mend it"]
    assert render([]) == ""
