"""Bad input to any stage is refused in one line before any training: by field, or by file and line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer
from typer.testing import CliRunner

from thinkery.cli import app
from thinkery.models.template import FILE_NAME

pytestmark = pytest.mark.slow

GOOD = {
    "problems": [{"prompt": f"{i} + {i}?", "answer": f"{2 * i}"} for i in (1, 2)],
    "demonstrations": [{"prompt": "1 + 1?", "thinking": "One and one.", "answer": "2"}] * 2,
    "pairs": [{"prompt": "Hello!", "chosen": "Good day!", "rejected": "What?"}] * 2,
    "labels": [{"prompt": "Hello!", "response": "Good day!", "safe": True}] * 2,
}
COMMANDS = {
    "grpo": ("problems", []),
    "collect": ("problems", []),
    "judge": ("problems", ["--task", "preference", "--judge", "mini"]),
    "eval": ("problems", []),
    "sft": ("demonstrations", []),
    "reward-model": ("pairs", ["--objective", "pairwise"]),
    "reward-model pointwise": ("labels", ["--objective", "pointwise"]),
}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name, rows in GOOD.items():
        write(tmp_path / f"{name}.jsonl", rows)
    return tmp_path


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def refused(*arguments: object) -> str:
    """What a command says that refuses its input, in one line, with nothing learnt."""
    done = CliRunner().invoke(app, [*map(str, arguments)])
    assert done.exit_code == 2, (done.output, done.exception)
    assert not list(Path().glob("runs/*/metrics.jsonl"))
    assert not list(Path().glob("runs/*/checkpoints/*"))
    lines = done.stderr.splitlines()
    assert len(lines) == 1
    return lines[0].removeprefix("error: ")


def alone(command: str, model: object, *further: str) -> list[str]:
    kind, options = COMMANDS[command]
    return [command.split()[0], "--model", str(model), "--data", f"{kind}.jsonl", *options, *further]


COLUMNS = [
    ("grpo", "answer", "grpo.problems: problems.jsonl, line 2: the field answer "),
    ("collect", "prompt", "collect.problems: problems.jsonl, line 2: the field prompt "),
    ("judge", "answer", "judge.problems: problems.jsonl, line 2: the field answer "),
    ("eval", "answer", "evaluate.problems.problems: problems.jsonl, line 2: the field answer "),
    ("sft", "answer", "sft.data[0]: demonstrations.jsonl, line 2: the field answer "),
    ("reward-model", "rejected", "reward-model.data[0]: pairs.jsonl, line 2: the field rejected "),
    ("reward-model pointwise", "safe", "reward-model.data[0]: labels.jsonl, line 2: the field safe "),
]


@pytest.mark.parametrize(("command", "column", "expected"), COLUMNS, ids=[command for command, *_ in COLUMNS])
def test_a_row_without_its_column_is_refused_by_file_line_and_field(
    tiny_model: Path, place: Path, command: str, column: str, expected: str
) -> None:
    kind = COMMANDS[command][0]
    first, second = GOOD[kind]
    write(place / f"{kind}.jsonl", [first, {name: value for name, value in second.items() if name != column}])
    assert refused(*alone(command, tiny_model)).startswith(expected)


@pytest.mark.parametrize("command", COMMANDS)
def test_an_empty_file_is_refused(tiny_model: Path, place: Path, command: str) -> None:
    kind = COMMANDS[command][0]
    (place / f"{kind}.jsonl").write_text("")
    assert f"{kind}.jsonl" in refused(*alone(command, tiny_model))


@pytest.mark.parametrize("command", COMMANDS)
def test_a_template_that_does_not_exist_is_refused(tiny_model: Path, place: Path, command: str) -> None:
    said = refused(*alone(command, tiny_model, "--template", "r1"))
    assert said == "template = 'r1': allowed: r1-zero, r1-zero-compact, r1-compact, chat-think"


@pytest.mark.parametrize("command", COMMANDS)
def test_a_model_without_a_template_needs_one_named(tiny_model: Path, place: Path, command: str) -> None:
    bare = place / "bare"
    shutil.copytree(tiny_model, bare)
    (bare / FILE_NAME).unlink()
    assert refused(*alone(command, bare)).startswith(f"base: {bare} has no {FILE_NAME}: name a template")


@pytest.mark.parametrize("command", ["grpo", "sft", "collect"])
def test_a_model_that_could_never_end_is_refused(tiny_model: Path, place: Path, command: str) -> None:
    endless = place / "endless"
    shutil.copytree(tiny_model, endless)
    for name, field in (
        ("tokenizer_config", "eos_token"),
        ("config", "eos_token_id"),
        ("generation_config", "eos_token_id"),
    ):
        path = endless / f"{name}.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), field: None}))
    assert refused(*alone(command, endless)).startswith(f"base: {endless} has no end-of-sequence token")


def test_a_demonstration_that_the_template_can_not_hold_is_refused_by_its_name(tiny_model: Path, place: Path) -> None:
    write(
        place / "demonstrations.jsonl", [{"id": "mine-7", "prompt": "1 + 1?", "thinking": "a</think>b", "answer": "2"}]
    )
    assert "mine-7" in refused(*alone("sft", tiny_model))


def test_what_is_no_reward_model_is_refused(tiny_model: Path, place: Path) -> None:
    said = refused(*alone("grpo", tiny_model, "--reward", f"helpful={{model: {tiny_model}}}"))
    assert said.startswith(f"grpo.rewards.helpful.model: {tiny_model} is no reward model")


def test_a_reward_model_of_another_tokenizer_is_refused(tiny_model: Path, place: Path) -> None:
    pairs = [{"prompt": f"Say {i}.", "chosen": f"{i}", "rejected": "No."} for i in range(6)]
    write(place / "pairs.jsonl", pairs)
    made = CliRunner().invoke(app, alone("reward-model", tiny_model, "--output-dir", "rm", "--set", "held_out=0.5"))
    assert made.exit_code == 0, made.output
    other = place / "other"
    shutil.copytree(tiny_model, other)
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    tokenizer.add_tokens(["quoth"])
    tokenizer.save_pretrained(other)
    reward_model = place / "rm" / "checkpoints" / "reward-model" / "model"
    said = refused(*alone("grpo", other, "--reward", f"helpful={{model: {reward_model}}}"))
    assert said.startswith(f"grpo.rewards.helpful.model: the reward model {reward_model} has another tokenizer")


LADDER = """
name: ladder
base: {model}
stages:
  - {{name: first, kind: sft, from: base, data: [demonstrations.jsonl]}}
  - {{name: second, kind: sft, from: {student}, template: chat-think, data: [more.jsonl]}}
"""


def test_what_only_the_last_stage_takes_is_looked_at_before_the_first(tiny_model: Path, place: Path) -> None:
    recipe = place / "ladder.yaml"
    write(place / "more.jsonl", [*GOOD["demonstrations"], {"prompt": "1 + 1?"}])
    recipe.write_text(LADDER.format(model=tiny_model, student=tiny_model))
    assert refused("run", recipe).startswith("second.data[0]: more.jsonl, line 3: the field answer ")
    write(place / "more.jsonl", GOOD["demonstrations"])
    recipe.write_text(LADDER.format(model=tiny_model, student=place / "gone"))
    assert refused("run", recipe).startswith(f"second.from: no model at {place / 'gone'}")
