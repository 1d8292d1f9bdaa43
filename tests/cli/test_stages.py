"""The commands of single stages: their options are the stage's fields, and their mistakes are told in options."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from thinkery.cli import app
from thinkery.commands import StageOptions, model_of, recipe_of
from thinkery.recipe import RLStage
from thinkery.recipe.reference import sentences

COMMANDS = ("grpo", "sft", "collect", "judge", "reward-model", "eval")
REQUIRED = {
    "judge": ["--task", "preference", "--judge", "mini"],
    "reward-model": ["--objective", "pairwise"],
}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    rows = [{"prompt": "1 + 1?", "answer": "2"}, {"prompt": "2 + 2?", "answer": "4"}]
    (tmp_path / "p.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def parameters(command: str) -> dict[str, Any]:
    found = get_command(app).commands[command].params  # type: ignore[attr-defined]
    return {option: parameter for parameter in found for option in parameter.opts}


def said(command: str, *arguments: str) -> str:
    required = [] if "--judge" in arguments else REQUIRED.get(command, [])
    done = CliRunner().invoke(app, [command, "--model", "./m", "--data", "p.jsonl", *required, *arguments, "--dry-run"])
    assert done.exit_code == 2, done.output
    (line,) = done.stderr.splitlines()
    return line.removeprefix("error: ")


def test_every_plain_field_is_an_option_with_its_sentence_and_its_default() -> None:
    options = parameters("grpo")
    for name, field in RLStage.model_fields.items():
        plain = field.annotation in (int, float, bool, str) or "Literal" in str(field.annotation)
        if plain and name not in ("name", "kind", "from_"):
            option = options[f"--{name.replace('_', '-')}"]
            assert option.help.startswith(sentences(RLStage)[name].text)
            assert option.show_default or field.is_required() or field.default is None
    assert options["--learning-rate"].help.endswith("DeepSeek-R1: 3e-6.")
    assert (options["--epsilon"].show_default, options["--dynamic-sampling"].show_default) == ("0.2", "false")
    assert "--no-dynamic-sampling" in options["--dynamic-sampling"].secondary_opts


@pytest.mark.parametrize("command", COMMANDS)
def test_the_options_that_people_use_are_there(command: str) -> None:
    everywhere = "--model --data --output-dir --template --column --split --limit --set --seed --force --dry-run"
    own = {
        "grpo": "--reward --preset --steps --num-problems --num-generations --max-completion-length --unsafe-local",
        "sft": "--epochs --batch-size --learning-rate --max-length",
        "collect": "--num-generations --temperature --refine --judge --judge-model --api-key-env --unsafe-local",
        "judge": "--task --judge --judge-model --api-key-env --other --num-generations --max-completion-length",
        "reward-model": "--objective --reads --epochs --batch-size --learning-rate",
        "eval": "--num-samples --temperature --max-completion-length --judge --judge-model --unsafe-local",
    }
    assert parameters(command).keys() >= {*everywhere.split(), *own[command].split()}
    assert not {"--name", "--kind", "--from", "--models", "--rollout"} & parameters(command).keys()


def changes(command: str, fields: dict[str, Any], *arguments: str) -> list[str]:
    """What the arguments change against a run with ``fields`` alone, as a dry run in its folder lists it."""
    folder = Path("runs") / command
    folder.mkdir(parents=True)
    (folder / "recipe.yaml").write_text(recipe_of(StageOptions(command, "./m", ["p.jsonl"], fields)).to_yaml())
    done = CliRunner().invoke(app, [command, "--model", "./m", "--data", "p.jsonl", *arguments, "--dry-run"])
    assert done.exit_code == 0, done.output
    lines = [line.strip() for line in done.stdout.splitlines()]
    return [line.removeprefix(f"changed: {command}.") for line in lines if line.startswith("changed: ")]


def test_what_is_said_reaches_its_field_and_what_is_not_stays_the_stages_own(place: Path) -> None:
    fields = {"task": "preference", "judge.source": "mini"}
    options = ["--no-balance-lengths", "--num-verdicts", "2", "--other", "./a", "--other", "./b", "--limit", "1"]
    assert sorted(changes("judge", fields, *REQUIRED["judge"], *options)) == [
        "balance_lengths: True -> False",
        "num_verdicts: 4 -> 2",
        "others: [] -> ['./a', './b']",
        "problems.n: None -> 1",
    ]


def test_nothing_said_is_what_the_stage_is_alone(place: Path) -> None:
    assert changes("grpo", {}) == []


def test_a_preset_fills_what_no_option_says(place: Path) -> None:
    options = ["--preset", "dapo", "--epsilon-high", "0.5", "--no-dynamic-sampling"]
    assert sorted(changes("grpo", {"preset": "dapo"}, *options)) == [
        "dynamic_sampling: True -> False",
        "epsilon_high: 0.28 -> 0.5",
    ]


@pytest.mark.parametrize(
    ("command", "arguments", "expected"),
    [
        ("grpo", ["--learning-rate", "-1"], "--learning-rate = -1.0: allowed: a number > 0"),
        ("grpo", ["--num-generations", "1"], "--num-generations = 1: a group needs at least 2 to compare"),
        ("grpo", ["--epsilon", "0.3", "--epsilon-high", "0.1"], "--epsilon-high = 0.1: must be at least epsilon, 0.3"),
        ("grpo", ["--limit", "0"], "--limit = 0: allowed: an integer > 0"),
        ("grpo", ["--reward", "length={weight: x}"], "--reward length.weight = 'x': allowed: a number"),
        ("grpo", ["--column", "foo=bar"], "--column foo: no such column; allowed: prompt, "),
        ("grpo", ["--template", "r1"], "--template = 'r1': allowed: r1-zero, "),
        ("grpo", ["--seed", "-1"], "--seed = -1: allowed: an integer >= 0"),
        ("grpo", ["--data", "gone.jsonl"], "--data = 'gone.jsonl': no such file in "),
        ("grpo", ["--set", "probe.every=0"], "--set probe.problems: missing; allowed: "),
        ("grpo", ["--set", "stesp=1"], "--set stesp: no such field; did you mean steps?"),
        ("grpo", ["--set", "verification.workers=0"], "--set verification.workers = 0: allowed: an integer > 0"),
        ("grpo", ["--data", "mini", "--split", "dev"], "--split = 'dev': mini has train and test"),
        ("grpo", ["--data", "./gone/", "--limit", "2"], "--data = './gone/': no such file in "),
        ("sft", ["--limit", "0"], "--limit = 0: allowed: an integer > 0"),
        ("sft", ["--min-lr-rate", "3"], "--min-lr-rate = 3.0: allowed: a number >= 0 and <= 1"),
        ("sft", ["--set", "data.7.n=2"], "--set data.7.n=2: '7' is no position in a list of 1"),
        ("sft", ["--data", "gone.jsonl"], "--data = 'gone.jsonl': no such file in "),
        ("collect", ["--judge-model", "x"], "--judge: missing; allowed: a text"),
        ("collect", ["--refine", "endpoint"], "--set refine.endpoint: name the one to ask"),
        (
            "judge",
            ["--task", "safety", "--judge", "foo"],
            "--judge = 'foo': allowed: mini, mini-true or http://host/v1",
        ),
        (
            "judge",
            ["--task", "safety", "--judge", "http://a/v1", "--judge-model", "m", "--api-key-env", "NO_SUCH_KEY"],
            "--api-key-env = 'NO_SUCH_KEY': this environment variable is not set",
        ),
        ("reward-model", ["--set", "held_out=2"], "--held-out = 2: allowed: a number > 0 and < 1"),
        ("eval", ["--num-samples", "0"], "--num-samples = 0: allowed: an integer > 0"),
        ("eval", ["--split", "dev", "--data", "mini"], "--split = 'dev': mini has train and test"),
    ],
)
def test_a_mistake_is_told_in_options(place: Path, command: str, arguments: list[str], expected: str) -> None:
    assert said(command, *arguments).startswith(expected)


def test_the_same_mistake_in_a_recipe_is_told_in_fields(place: Path) -> None:
    stage = "{name: zero, kind: rl, from: base, problems: {source: mini}, rewards: {format: 1}, steps: 6, "
    (place / "r.yaml").write_text(f"{{name: tiny, base: ./m, stages: [{stage}learning_rate: -1}}]}}")
    done = CliRunner().invoke(app, ["run", "r.yaml"])
    assert done.stderr == "error: r.yaml: zero.learning_rate = -1: allowed: a number > 0\n"


def test_a_choice_that_is_none_is_refused_with_those_there_are(place: Path) -> None:
    done = CliRunner().invoke(app, ["grpo", "--model", "./m", "--data", "p.jsonl", "--preset", "ppoo"])
    assert done.exit_code == 2
    assert all(word in done.stderr for word in ("--preset", "ppoo", "dr_grpo"))


def test_a_table_goes_where_json_lines_go(place: Path) -> None:
    (place / "p.csv").write_text("question,final\n1 + 1?,2\n")
    columns = ["--column", "prompt=question", "--column", "answer=final"]
    done = CliRunner().invoke(app, ["grpo", "--model", "./m", "--data", "p.csv", *columns, "--dry-run"])
    assert done.exit_code == 0, done.output


def test_the_version_is_said(place: Path) -> None:
    done = CliRunner().invoke(app, ["--version"])
    assert (done.exit_code, done.stdout) == (0, f"thinkery {version('thinkery')}\n")


def test_the_list_of_commands_needs_no_types(place: Path) -> None:
    """They take longer to import than everything else together."""
    script = (
        "import sys\n"
        "from thinkery.cli import app\n"
        "app(['--help'], standalone_mode=False)\n"
        "assert not {'pydantic', 'yaml', 'thinkery.recipe'} & sys.modules.keys()\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    assert all(f" {command} " in done.stdout for command in COMMANDS)


def test_every_command_has_the_type_of_its_stage() -> None:
    assert {command: model_of(command).__name__ for command in COMMANDS} == {
        "grpo": "RLStage",
        "sft": "SFTStage",
        "collect": "CollectStage",
        "judge": "JudgeStage",
        "reward-model": "RewardModelStage",
        "eval": "EvalSpec",
    }
