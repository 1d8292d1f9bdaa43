"""Says what the sandbox can do on this machine, by doing it: ``thinkery doctor``.

``diagnose`` starts every isolation that works here, runs real programs in it, and lets one take too much. ``render``
makes lines of that. Left out: facts about the machine that have nothing to do with verifiers.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterable
from dataclasses import dataclass

from thinkery.sandbox import cpp, isolation, needs
from thinkery.sandbox.sandbox import Sandbox
from thinkery.sandbox.types import Limits, Program, Status
from thinkery.types import UserError

GUARDS = (
    "programs see the system's libraries read-only and a folder of their own, no file of yours, no network, no process "
    "but theirs; each run starts afresh and leaves nothing"
)
_FAULT = "this is a fault of the sandbox: report it"
_RUNS = 5
_PYTHON = "import sys; print(sys.version.split()[0], sys.executable)"
_CPP = '#include <iostream>\nint main() { std::cout << __VERSION__ << "\\n"; }\n'
# Four processes, each well under the limit by itself.
_GREEDY = (
    "import os, time\nfor _ in range(3):\n    if os.fork() == 0:\n        break\n"
    "block = b'x' * (48 << 20)\ntime.sleep(30)\n"
)
_GREEDY_LIMITS = Limits(memory_bytes=128 << 20, wall_s=10.0)


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """One thing looked at: whether it works, what was seen, and what to do if it doesn't."""

    name: str
    ok: bool
    detail: str
    advice: str = ""


def diagnose() -> list[Diagnosis]:
    """Try everything; the first finding is the verdict. Takes a few seconds, and raises nothing a user could cause."""
    probes = [isolation.probe(level) for level in isolation.LEVELS]
    working = [probe.level for probe in probes if probe.works]
    findings = [_verdict(working, limited=any(probe.limited for probe in probes))]
    for probe in probes:
        findings.append(Diagnosis(f"isolation: {probe.level}", probe.works, probe.detail, probe.advice))
    findings += [Diagnosis("programs get less", True, less) for less in needs.lowered()]
    for level in working:
        with Sandbox(workers=1, isolation=level) as sandbox:
            findings += [_python(sandbox, level), _cpp(sandbox, level), _memory(sandbox, level)]
    return findings


def render(findings: Iterable[Diagnosis]) -> str:
    """One line a finding, and below what does not work, what helps."""
    findings = list(findings)
    width = max((len(finding.name) for finding in findings), default=0)
    lines = []
    for finding in findings:
        lines.append(f"{'ok' if finding.ok else 'NO':<4}{finding.name:<{width}}  {finding.detail}".rstrip())
        if finding.advice and not finding.ok:
            lines.append(f"{'':<{width + 6}}-> {finding.advice}")
    return "\n".join(lines)


def _verdict(working: list[isolation.Level], limited: bool) -> Diagnosis:
    name = "untrusted programs"
    if working:
        return Diagnosis(name, True, f"run under {working[0]}: {GUARDS}")
    advice = "see below for each isolation; or use a SandboxFusion server"
    if not limited:
        advice += ", or --unsafe-local if you trust the programs"
    return Diagnosis(name, False, "are refused: no isolation works here", advice)


def _python(sandbox: Sandbox, level: isolation.Level) -> Diagnosis:
    seconds = []
    for _ in range(_RUNS):
        began = time.monotonic()
        result = sandbox.run(Program(_PYTHON))
        seconds.append(time.monotonic() - began)
    detail = f"{result.stdout.strip()}, {_milliseconds(statistics.median(seconds))} a run on a warm server"
    return _finding(f"{level}: Python", result.ok, detail, result.reason or result.stderr)


def _cpp(sandbox: Sandbox, level: isolation.Level) -> Diagnosis:
    name = f"{level}: C++"
    began = time.monotonic()
    try:
        result = sandbox.run(Program(_CPP, "cpp"))
    except UserError as error:
        return Diagnosis(name, False, "no compiler", str(error))
    compiled = time.monotonic()
    sandbox.run(Program(_CPP, "cpp"))
    detail = (
        f"{cpp.compiler()} {result.stdout.strip()}, {_milliseconds(compiled - began)} to compile and run, "
        f"{_milliseconds(time.monotonic() - compiled)} to run again"
    )
    return _finding(name, result.ok, detail, result.reason or result.stderr)


def _memory(sandbox: Sandbox, level: isolation.Level) -> Diagnosis:
    result = sandbox.run(Program(_GREEDY), "", _GREEDY_LIMITS)
    limit = f"{_GREEDY_LIMITS.memory_bytes >> 20} MiB"
    detail = f"one process by the kernel, all of a run and its files by a watcher: ended at {limit}"
    seen = f"four processes that took more than {limit} together ended with {result.status} ({result.reason})"
    return _finding(f"{level}: memory", result.status is Status.MEMORY, detail, seen)


def _finding(name: str, ok: bool, detail: str, problem: str) -> Diagnosis:
    if ok:
        return Diagnosis(name, True, detail)
    less = "; ".join(needs.lowered())
    advice = f"started under these limits it may be for want of what they refuse: {less}" if less else _FAULT
    return Diagnosis(name, False, problem.strip()[-500:] or "no output", advice)


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1e3:.1f} ms" if seconds < 0.1 else f"{seconds * 1e3:.0f} ms"
