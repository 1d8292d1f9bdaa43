"""Code that a checkpoint brings along: it is neither run nor asked about, unless the command was given its flag."""

from __future__ import annotations

import json
import os
import pty
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from thinkery.models.loading import load_policy, resolve_model
from thinkery.models.remote_code import remote_code, trusts_remote_code
from thinkery.types import UserError

pytestmark = pytest.mark.slow

CODE = """
import os
from transformers import Qwen3Config, Qwen3ForCausalLM

with open({marker!r}, "a") as file:
    file.write(f"{{os.getpid()}} ")


class MarkedConfig(Qwen3Config):
    model_type = "marked"


class MarkedForCausalLM(Qwen3ForCausalLM):
    config_class = MarkedConfig
"""


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    """Where the checkpoint's code writes which processes have run it."""
    return tmp_path / "marker"


@pytest.fixture
def marked(tmp_path: Path, marker: Path) -> Path:
    """The shipped base as a checkpoint whose model is code of its own."""
    folder = tmp_path / "marked"
    shutil.copytree(resolve_model("thinkery://mini-base"), folder)
    (folder / "modeling_marked.py").write_text(CODE.format(marker=str(marker)))
    path = folder / "config.json"
    classes = {"AutoConfig": "MarkedConfig", "AutoModelForCausalLM": "MarkedForCausalLM"}
    own = {
        "model_type": "marked",
        "architectures": ["MarkedForCausalLM"],
        "auto_map": {auto: f"modeling_marked.{name}" for auto, name in classes.items()},
    }
    path.write_text(json.dumps(json.loads(path.read_text()) | own))
    return folder


def environment(tmp_path: Path) -> dict[str, str]:
    return os.environ | {"HF_MODULES_CACHE": str(tmp_path / "modules")}


def at_a_terminal(*arguments: object, cwd: Path) -> tuple[int, str]:
    """The command's exit status and all that it wrote to a terminal where somebody has already typed ``y``."""
    ours, its = pty.openpty()
    os.write(ours, b"y\n" * 3)
    command = [sys.executable, "-c", "from thinkery.__main__ import main; main()", *map(str, arguments)]
    with subprocess.Popen(command, stdin=its, stdout=its, stderr=its, cwd=cwd, env=environment(cwd)) as process:
        os.close(its)
        written = b""
        try:
            while part := os.read(ours, 65536):
                written += part
        except OSError:  # the last who held the other end is gone
            pass
    os.close(ours)
    return process.returncode, written.decode()


def evaluation(model: Path) -> list[object]:
    few = ["--limit", 2, "--num-samples", 1, "--max-completion-length", 4]
    return ["eval", "--model", model, "--data", "mini", *few]


def test_at_a_terminal_nothing_is_asked_and_nothing_is_run(marked: Path, marker: Path, tmp_path: Path) -> None:
    status, written = at_a_terminal(*evaluation(marked), cwd=tmp_path)
    assert status == 2, written
    assert "it needs Python code that the checkpoint brings along, which is not run unless" in written
    assert "give --trust-remote-code" in written
    assert "[y/N]" not in written
    assert not marker.exists()


def test_with_the_flag_the_code_runs_and_the_manifest_says_so(marked: Path, marker: Path, tmp_path: Path) -> None:
    status, written = at_a_terminal(*evaluation(marked), "--trust-remote-code", cwd=tmp_path)
    assert status == 0, written
    assert marker.exists()
    (session,) = json.loads((tmp_path / "runs" / "eval" / "manifest.json").read_text())["sessions"]
    assert (session["trust_remote_code"], session["unsafe_local"]) == (True, False)


def test_the_permission_lasts_as_long_as_its_block(marked: Path, marker: Path) -> None:
    with remote_code(False):
        assert not trusts_remote_code()
        with remote_code(True):
            assert trusts_remote_code()
        with pytest.raises(UserError, match="give --trust-remote-code"):
            load_policy(marked, template=None, device="cpu")
    assert not marker.exists()


def test_code_that_is_not_needed_is_left_alone(marked: Path, marker: Path) -> None:
    path = marked / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"model_type": "qwen3"}))
    model = load_policy(marked, template=None, device="cpu").model
    assert type(model).__module__.startswith("transformers.models.qwen3.")
    assert not marker.exists()


SAMPLES = """
import sys
from thinkery.models.loading import load_policy
from thinkery.models.remote_code import remote_code
from thinkery.rollout import NativeRollout
from thinkery.rollout.native.worker_processes import WORKER_PROCESSES
from thinkery.types import Problem, Sampling

with remote_code(True):
    policy = load_policy(sys.argv[1], template=None, device="cpu", dtype="float32")
rollout = NativeRollout(policy, workers=2)
WORKER_PROCESSES.wait(120)
problems = [Problem(str(number), "1+1", "") for number in range(2)]
for _ in rollout.generate(problems, Sampling(2, max_completion_length=4), seed=0, step=0, stage="test"):
    pass
"""


def test_a_sampling_process_finds_the_code_that_its_parent_runs(marked: Path, marker: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", SAMPLES, str(marked)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, env=environment(tmp_path))
    assert done.returncode == 0, done.stderr
    assert len(set(marker.read_text().split())) == 2
