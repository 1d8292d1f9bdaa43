"""This environment's packages inside: found there, of the right interpreter, refused where they can't be shown."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from thinkery.sandbox import isolation, packages
from thinkery.sandbox.packages import environment_packages
from thinkery.sandbox.sandbox import Sandbox
from thinkery.sandbox.types import Program, Status
from thinkery.types import UserError

pytestmark = pytest.mark.slow

WORKING = [level for level in isolation.LEVELS if isolation.probe(level).works]
SEEN = """
import numpy, os, sys
print(list(sys.version_info[:2]), "jinja2" in sys.modules, numpy.arange(3).sum(), os.listdir("/tmp"))
try:
    open(os.path.join(os.path.dirname(numpy.__file__), "written"), "w")
except OSError as error:
    print(type(error).__name__)
"""


@pytest.mark.parametrize("level", [*WORKING, "none"])
def test_a_program_finds_the_packages_and_can_not_change_them(level: Any) -> None:
    shown = environment_packages(["jinja2"], isolated=level != "none")
    with Sandbox(workers=1, isolation=level, packages=shown) as sandbox:
        source = SEEN if level != "none" else SEEN.partition("try:")[0].replace(', os.listdir("/tmp")', "")
        result = sandbox.run(Program(source))
        plain = sandbox.run(Program("import thinkery"))
    expected = f"{list(sys.version_info[:2])} True 3"
    assert result.status is Status.OK, result
    assert result.stdout == (f"{expected}\n" if level == "none" else f"{expected} ['program.py']\nOSError\n"), result
    assert level == "none" or plain.status is Status.ERROR  # this project itself is not there


def test_programs_of_a_model_do_not_find_them() -> None:
    with Sandbox(workers=1) as sandbox:
        assert "ModuleNotFoundError" in sandbox.run(Program("import numpy")).stderr


def test_a_folder_that_the_sandbox_hides_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "site-packages"
    folder.mkdir()
    monkeypatch.setattr(packages, "_HIDDEN", tmp_path)
    monkeypatch.setattr(sys, "path", [str(folder)])
    with pytest.raises(UserError, match="which the sandbox replaces: install the environment elsewhere"):
        environment_packages(["jinja2"])


@pytest.mark.skipif(os.geteuid() != 0, reason="only root's sandbox has another user")
def test_a_folder_that_is_closed_to_the_sandboxes_user_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "closed" / "site-packages"
    folder.mkdir(parents=True)
    folder.parent.chmod(0o700)
    monkeypatch.setattr(packages, "_HIDDEN", Path("/nowhere"))
    monkeypatch.setattr(sys, "path", [str(folder)])
    with pytest.raises(UserError, match=r"closed to other users(?s:.)*--unsafe-local"):
        environment_packages(["jinja2"])
