"""The command as a user types it: in a process of its own where its start, its exit status or its signals matter."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from typer.main import get_command

from thinkery.cli import app

pytestmark = pytest.mark.slow

RECIPE = """
name: tiny
base: {base}
stages:
  - {{name: zero, kind: rl, from: base, problems: {{source: mini}}, rewards: {{format: 1}}, steps: 6, learning_rate: 1}}
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(RECIPE.format(base=tmp_path / "base"))
    return path


def thinkery(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from thinkery.__main__ import main; main()", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=240, cwd=cwd)


STAGES = ["grpo", "sft", "collect", "judge", "reward-model", "eval"]
COMMANDS = ["run", "profile", "plan", "report", "verify", "decontaminate", "doctor", *STAGES]


@pytest.mark.parametrize("arguments", [[], *([name] for name in COMMANDS)], ids=lambda names: "".join(names) or "all")
def test_every_help_has_an_example_and_loads_nothing_heavy(arguments: list[str]) -> None:
    script = (
        "import sys\n"
        "from thinkery.cli import app\n"
        f"app({[*arguments, '--help']!r}, standalone_mode=False)\n"
        "heavy = {'torch', 'transformers', 'pyarrow', 'plotly', 'tensorboard', 'sympy'} & sys.modules.keys()\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    assert f"Example: thinkery {arguments[0] if arguments else 'run'} " in done.stdout


def test_a_dry_run_says_what_would_run_and_writes_nothing(recipe: Path, tmp_path: Path) -> None:
    done = thinkery("run", recipe, "--dry-run", "--set", "zero.steps=7", "--seed", 5, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["tiny in runs/tiny, seed 5", "  zero: rl from base, 7 steps, pending"]
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.yaml"]


@pytest.mark.parametrize("command", ["run", "profile", *STAGES])
def test_every_command_that_loads_models_can_be_allowed_to_run_their_code(command: str) -> None:
    options = {option for parameter in get_command(app).commands[command].params for option in parameter.opts}
    assert "--trust-remote-code" in options


def test_a_recipe_that_allows_itself_what_only_the_user_can_is_refused(recipe: Path, tmp_path: Path) -> None:
    recipe.write_text(recipe.read_text() + "trust_remote_code: true\nverification: {code: {unsafe_local: true}}\n")
    refused = thinkery("run", recipe, "--dry-run", "--trust-remote-code", cwd=tmp_path)
    assert refused.returncode == 2
    assert "verification.code.unsafe_local: no recipe and no --set can allow this" in refused.stderr
    assert thinkery("run", recipe, "--dry-run", "--trust-remote-code", "--unsafe-local", cwd=tmp_path).returncode == 0


UNDER_A_CONTAINERS_RULES = "from thinkery.sandbox.inside import seccomp; seccomp.install()\n"


def test_a_dry_run_says_that_programs_could_not_be_run(recipe: Path, tmp_path: Path) -> None:
    main = f"{UNDER_A_CONTAINERS_RULES}from thinkery.__main__ import main; main()"
    command = [sys.executable, "-c", main, "run", str(recipe), "--dry-run"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    first, *reasons = done.stderr.splitlines()
    assert first.startswith("error: zero.problems: problem mini-train-0-")
    assert first.endswith(": A model's programs are not run unprotected, and no isolation works here:")
    assert any("landlock: " in reason for reason in reasons)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["run", "gone.yaml"], "error: gone.yaml: no such recipe"),
        (["run", "tiny.yaml", "--set", "zero.stesp=1"], "zero.stesp: no such field; did you mean steps?"),
        (["run", "tiny.yaml", "--set", "zero.rewards={sped: 1}"], "there is no reward 'sped'; your own is written"),
        (["run", "tiny.yaml", "--until", "next"], "error: --until next: no such stage; stages: zero"),
        (["run", "tiny.yaml"], "no model at "),
        (["run", "tiny.yaml", "--set", "trust_remote_code=true"], "if you trust that code, give --trust-remote-code"),
        (["verify", "gone.jsonl"], "error: gone.jsonl: no such file"),
        (["verify", "some.jsonl", "--reward", "maths"], "error: there is no verifier 'maths'; known are"),
        (["verify", "some.jsonl", "--set", "verification.maths=1"], "verification.maths: no such field; did you mean"),
        (["verify", "some.jsonl", "--set", "verification.code.unsafe_local=true"], "code, give --unsafe-local"),
        (["verify", "some.jsonl", "--set", "seed=3"], "here only verification can be set"),
        (["verify", "some.jsonl", "--column", "question"], "--column question: write it as ours=theirs"),
        (["decontaminate", "some.jsonl"], "error: nothing to do: name benchmarks with --against"),
        (["report", "gone"], "error: gone is no run folder: it has no manifest.json"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line_and_exit_status_2(
    recipe: Path, tmp_path: Path, arguments: list[str], expected: str
) -> None:
    (tmp_path / "some.jsonl").write_text('{"prompt": "1 + 1?", "answer": "2"}\n')
    done = thinkery(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert expected in done.stderr
    assert len(done.stderr.splitlines()) == 1


PROBLEMS = [
    {"prompt": "What is 2 + 2?", "answer": "4"},
    {"prompt": "Half of three?", "answer": "\\frac{3}{"},
    {"prompt": "What is the capital of France?", "choices": ["Rome", "Paris"], "answer": "B", "verifier": "choice"},
]


def test_verify_lists_what_is_not_accepted_by_line(tmp_path: Path) -> None:
    path = tmp_path / "some.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in PROBLEMS))
    done = thinkery("verify", path, cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    assert "2 of 3 references are accepted" in done.stdout
    assert f"{path}, line 2: " in done.stdout
    path.write_text(json.dumps(PROBLEMS[0]) + "\n")
    assert thinkery("verify", path, "--reward", "math", cwd=tmp_path).returncode == 0


def test_decontaminate_writes_what_the_benchmark_does_not_hold(tmp_path: Path) -> None:
    lines = [json.dumps(row) + "\n" for row in PROBLEMS]
    (tmp_path / "train.jsonl").write_text("".join(lines))
    (tmp_path / "test.jsonl").write_text(json.dumps({"prompt": "what is 2+2", "answer": "4"}))
    done = thinkery("decontaminate", "train.jsonl", "--against", "test.jsonl", "--output", "clean.jsonl", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "2 of 3 problems kept" in done.stdout
    assert (tmp_path / "clean.jsonl").read_text() == "".join(lines[1:])


def test_doctor_says_what_isolates_here_and_exits_accordingly(tmp_path: Path) -> None:
    done = thinkery("doctor", cwd=tmp_path)
    assert "isolation: bubblewrap" in done.stdout
    assert "isolation: landlock" in done.stdout
    assert done.returncode == (0 if "ok  untrusted programs" in done.stdout else 1)


def test_ctrl_c_stops_in_one_line_with_exit_status_130(tmp_path: Path) -> None:
    path = tmp_path / "tiny.yaml"
    path.write_text("{name: tiny, stages: [{name: grow, kind: pretrain, corpus: {source: mini}, tokens: 1000000}]}")
    command = [sys.executable, "-c", "from thinkery.__main__ import main; main()", "run", str(path)]
    pipe = subprocess.PIPE
    # A shell that starts the tests in the background has them, and their children, ignore Ctrl-C.
    heed = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, cwd=tmp_path, preexec_fn=heed) as child:
        try:
            assert child.stdout is not None
            assert child.stdout.readline() == "== grow (pretrain, 244 steps)\n"
            child.send_signal(signal.SIGINT)
            _, err = child.communicate(timeout=240)
        finally:
            child.kill()
    assert child.returncode == 130
    assert err.splitlines()[-1] == "stopped at grow; run the same command to resume"
    assert "Traceback" not in err
    manifest = json.loads((tmp_path / "runs" / "tiny" / "manifest.json").read_text())
    assert manifest["stages"]["grow"]["status"] == "running"


def test_what_a_file_says_can_not_write_over_the_terminal(tmp_path: Path) -> None:
    """Not in an error, nor in a report: an escape sequence could hide what stands above it, or type."""
    hostile = "\x1b[2J\x1b]0;title\x07\u202e"
    (tmp_path / "a.jsonl").write_text(json.dumps({hostile: 1}) + "\n")
    (tmp_path / "b.jsonl").write_text(
        json.dumps({"prompt": "p", "answer": "1", "id": hostile, "verifier": hostile}) + "\n"
    )
    for name in ("a.jsonl", "b.jsonl"):
        done = thinkery("verify", name, cwd=tmp_path)
        assert done.returncode != 0
        assert not set("\x1b\x07\u202e") & set(done.stdout + done.stderr), done
