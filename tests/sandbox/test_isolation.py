"""Which isolation is chosen, in circumstances that are made for real: rules, switches and missing programs."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable

import pytest

from thinkery.sandbox import Program, Sandbox, bubblewrap, unshare
from thinkery.sandbox.isolation import LEVELS, choose_isolation, probe

pytestmark = pytest.mark.slow

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can make these circumstances")

REPORT = """
import json
from thinkery.sandbox import isolation
from thinkery.types import UserError
found = {level: [isolation.probe(level).works, isolation.probe(level).detail, isolation.probe(level).advice]
         for level in isolation.LEVELS}
try:
    found["chosen"] = isolation.choose_isolation().level
except UserError as error:
    found["error"] = str(error)
try:
    isolation.choose_isolation("landlock")
except UserError as error:
    found["landlock by name"] = str(error)
print(json.dumps(found))
"""


def report(prefix: list[str] | None = None, before: str = "", preexec: Callable[[], None] | None = None) -> dict:  # type: ignore[type-arg]
    command = [*(prefix or []), sys.executable, "-c", before + REPORT]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, preexec_fn=preexec)
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    assert isinstance(found, dict)
    return found


def works(level: str) -> bool:
    return level in LEVELS and probe(level).works  # type: ignore[arg-type]


def test_what_is_chosen_works() -> None:
    if not any(probe(level).works for level in LEVELS):
        pytest.skip("no isolation works here")
    chosen = choose_isolation("auto")
    assert probe(chosen.level).works
    assert chosen.level == ("bubblewrap" if probe("bubblewrap").works else "landlock")
    with Sandbox(workers=1) as sandbox:
        assert sandbox.run(Program("print(6 * 7)")).stdout == "42\n"


@pytest.mark.parametrize("level", LEVELS)
def test_a_level_asked_for_by_name_is_what_one_gets(level: str) -> None:
    if not works(level):
        pytest.skip(f"{level} does not work here")
    chosen = choose_isolation(level)  # type: ignore[arg-type]
    assert chosen.level == level
    assert chosen.launch is {"bubblewrap": bubblewrap.launch, "landlock": unshare.launch}[level]


def test_none_is_only_for_whoever_asks_for_it() -> None:
    assert choose_isolation("none").level == "none"
    assert "none" not in LEVELS


def test_a_system_call_filter_as_containers_have_it_is_named_with_what_to_do() -> None:
    found = report(before="from thinkery.sandbox.inside import seccomp; seccomp.install()\n")
    assert not found["bubblewrap"][0]
    assert not found["landlock"][0]
    assert "clone into new user and PID namespaces: Operation not permitted" in found["landlock"][1]
    assert "seccomp=unconfined" in found["landlock"][2]
    error = found["error"]
    for word in ("bubblewrap:", "landlock:", "seccomp=unconfined", "SandboxFusion", "--unsafe-local"):
        assert word in error
    assert error.count("seccomp=unconfined") == 1  # the same advice once
    assert "the isolation 'landlock' does not work here" in found["landlock by name"]
    assert "bubblewrap" not in found["landlock by name"]


NO_USER_NAMESPACES = """
import ctypes, os
ready, go = os.pipe(), os.pipe()
outside = os.getpid()
helper = os.fork()
if helper == 0:  # still in the old namespace: it may map every user
    os.read(ready[0], 1)
    for name in ("uid_map", "gid_map"):
        with open(f"/proc/{outside}/{name}", "w") as file:
            file.write("0 0 4294967295")
    os.write(go[1], b"x")
    os._exit(0)
assert ctypes.CDLL(None).unshare(0x10000000) == 0
os.write(ready[1], b"x")
os.read(go[0], 1)
os.waitpid(helper, 0)
with open("/proc/sys/user/max_user_namespaces", "w") as file:
    file.write("0")
"""


@as_root
def test_switched_off_user_namespaces_are_named_with_the_switch() -> None:
    if not works("landlock"):
        pytest.skip("there are none to switch off")
    found = report(before=NO_USER_NAMESPACES)
    for level in LEVELS:
        working, detail, advice = found[level]
        assert not working
        if level == "bubblewrap" and "not installed" in detail:
            continue
        assert "user namespaces are switched off (user.max_user_namespaces = 0)" in detail
        assert "sysctl -w user.max_user_namespaces=" in advice
    assert "user.max_user_namespaces" in found["error"]


@as_root
def test_without_bubblewrap_the_other_level_is_taken() -> None:
    if not (works("landlock") and works("bubblewrap") and shutil.which("unshare") and shutil.which("mount")):
        pytest.skip("needs both levels, and the programs unshare and mount")
    program = os.path.realpath(shutil.which("bwrap") or "")
    hide = f'mount --bind /dev/null "{program}" && exec "$@"'
    found = report(prefix=["unshare", "--mount", "--propagation", "private", "sh", "-c", hide, "sh"])
    assert found["chosen"] == "landlock"
    assert not found["bubblewrap"][0]
    assert "bubblewrap is not installed" in found["bubblewrap"][1]
    assert "install the package 'bubblewrap'" in found["bubblewrap"][2]


def test_trying_leaves_no_process_behind() -> None:
    found = report(
        before="import os\nfrom thinkery.sandbox import isolation\n"
        "isolation.choose_isolation()\n"
        "for level in isolation.LEVELS: isolation.probe(level)\n"
        "try:\n    left = os.waitpid(-1, os.WNOHANG)\nexcept ChildProcessError:\n    left = None\n"
        "assert left is None, left\n"
    )
    assert "chosen" in found or "error" in found
