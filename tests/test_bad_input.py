"""Bad input to any stage is refused in one line before any training: by field, or by file and line."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
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
    ("grpo", "answer", "--data: problems.jsonl, line 2: the field answer "),
    ("collect", "prompt", "--data: problems.jsonl, line 2: the field prompt "),
    ("judge", "answer", "--data: problems.jsonl, line 2: the field answer "),
    ("eval", "answer", "--data: problems.jsonl, line 2: the field answer "),
    ("sft", "answer", "--data: demonstrations.jsonl, line 2: the field answer "),
    ("reward-model", "rejected", "--data: pairs.jsonl, line 2: the field rejected "),
    ("reward-model pointwise", "safe", "--data: labels.jsonl, line 2: the field safe "),
]


@pytest.mark.parametrize(("command", "column", "expected"), COLUMNS, ids=[command for command, *_ in COLUMNS])
def test_a_row_without_its_column_is_refused_by_file_line_and_field(
    tiny_model: Path, place: Path, command: str, column: str, expected: str
) -> None:
    kind = COMMANDS[command][0]
    first, second = GOOD[kind]
    write(place / f"{kind}.jsonl", [first, {name: value for name, value in second.items() if name != column}])
    assert refused(*alone(command, tiny_model)).startswith(expected)


LONG = {"prompt": "How many? " * 400, "answer": "4"}


@pytest.fixture
def short_model(tiny_model: Path, place: Path) -> Path:
    """The model with a context of 512 tokens."""
    short = place / "short"
    shutil.copytree(tiny_model, short)
    config = json.loads((short / "config.json").read_text())
    (short / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 512}))
    return short


@pytest.mark.parametrize("command", ["grpo", "collect", "eval"])
def test_a_prompt_that_leaves_no_room_for_an_answer_is_known_before_the_first_step(
    short_model: Path, place: Path, command: str
) -> None:
    write(place / "problems.jsonl", [*GOOD["problems"], LONG])
    said = refused(*alone(command, short_model))
    assert "--data: problems.jsonl, line 3: its prompt of " in said
    assert "tokens and max_completion_length" in said
    assert said.endswith("; set on_bad_row: skip to go on with the other 2")


def test_a_stage_goes_on_without_bad_rows_where_the_recipe_says_so(short_model: Path, place: Path) -> None:
    write(place / "problems.jsonl", [LONG, *GOOD["problems"], {"prompt": "1 + 5?"}, {"prompt": "1?", "answer": [1, 2]}])
    settings = {"problems.on_bad_row": "skip", "num_problems": 2, "num_generations": 2, "max_completion_length": 4}
    settings |= {"no_signal_steps": "null"}
    sets = [part for name, value in settings.items() for part in ("--set", f"{name}={value}")]
    done = CliRunner().invoke(app, [*alone("grpo", short_model), "--steps", "1", *sets, "--output-dir", "out"])
    assert done.exit_code == 0, (done.output, done.exception)
    assert "problems.jsonl: 3 of 5 rows left out:" in done.output
    assert "problems.jsonl, line 4: the field answer must be text or a number, not null" in done.output
    assert "problems.jsonl, line 1: its prompt of" in done.output


def test_a_language_that_the_language_reward_can_not_tell_is_known_before_the_first_step(
    tiny_model: Path, place: Path
) -> None:
    rows = [*GOOD["problems"], {"prompt": "1 + 3?", "answer": "4", "language": "tlh"}]
    write(place / "problems.jsonl", rows)
    said = refused(*alone("grpo", tiny_model, "--reward", "language=0.1", "--reward", "accuracy=1"))
    assert said.startswith("--data: problems.jsonl, line 3: language 'tlh': the language reward reads ISO 639")


@pytest.mark.parametrize(
    ("column", "value", "expected"),
    [
        ("verifier", "maths", "there is no verifier 'maths'; known are "),
        ("verifier", "code", "its tests can't be read: the reference is "),
    ],
)
def test_a_verifier_and_its_tests_are_looked_at_before_the_first_step(
    tiny_model: Path, place: Path, column: str, value: str, expected: str
) -> None:
    write(place / "problems.jsonl", [*GOOD["problems"], {"prompt": "1 + 3?", "answer": "4", column: value}])
    assert f"problems.jsonl, line 3: {expected}" in refused(*alone("grpo", tiny_model))


def test_all_demonstrations_that_can_not_be_learnt_are_told_or_skipped(tiny_model: Path, place: Path) -> None:
    bad = [{"id": f"mine-{i}", "prompt": "1 + 1?", "thinking": "a</think>b", "answer": "2"} for i in range(3)]
    write(place / "demonstrations.jsonl", [*GOOD["demonstrations"], *bad])
    done = CliRunner().invoke(app, [*alone("sft", tiny_model)])
    assert done.exit_code == 2
    assert "3 of 5 demonstrations can't be learnt; correct them, or set on_bad_row: skip in data" in done.stderr
    assert [f"mine-{i}" in done.stderr for i in range(3)] == [True] * 3


@pytest.mark.parametrize("command", COMMANDS)
def test_an_empty_file_is_refused(tiny_model: Path, place: Path, command: str) -> None:
    kind = COMMANDS[command][0]
    (place / f"{kind}.jsonl").write_text("")
    assert f"{kind}.jsonl" in refused(*alone(command, tiny_model))


@pytest.mark.parametrize("command", COMMANDS)
def test_a_template_that_does_not_exist_is_refused(tiny_model: Path, place: Path, command: str) -> None:
    said = refused(*alone(command, tiny_model, "--template", "r1"))
    assert said == "--template = 'r1': allowed: r1-zero, r1-zero-compact, r1-compact, chat-think"


@pytest.mark.parametrize("command", COMMANDS)
def test_a_model_without_a_template_needs_one_named(tiny_model: Path, place: Path, command: str) -> None:
    bare = place / "bare"
    shutil.copytree(tiny_model, bare)
    (bare / FILE_NAME).unlink()
    assert refused(*alone(command, bare)).startswith(f"--model: {bare} has no {FILE_NAME}: name a template")


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
    assert refused(*alone(command, endless)).startswith(f"--model: {endless} has no end-of-sequence token")


def test_a_demonstration_that_the_template_can_not_hold_is_refused_by_its_name(tiny_model: Path, place: Path) -> None:
    write(
        place / "demonstrations.jsonl", [{"id": "mine-7", "prompt": "1 + 1?", "thinking": "a</think>b", "answer": "2"}]
    )
    assert "mine-7" in refused(*alone("sft", tiny_model))


def test_what_is_no_reward_model_is_refused(tiny_model: Path, place: Path) -> None:
    said = refused(*alone("grpo", tiny_model, "--reward", f"helpful={{model: {tiny_model}}}"))
    assert said.startswith(f"--reward helpful.model: {tiny_model} is no reward model")


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
    assert said.startswith(f"--reward helpful.model: the reward model {reward_model} has another tokenizer")


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


@pytest.mark.parametrize("command", COMMANDS)
def test_a_pipe_where_data_are_expected_is_refused_and_not_waited_for(
    command: str, place: Path, tiny_model: Path
) -> None:
    kind, _ = COMMANDS[command]
    (place / f"{kind}.jsonl").unlink()
    os.mkfifo(place / f"{kind}.jsonl")
    assert f"{kind}.jsonl: a pipe (FIFO), where a file is expected" in refused(*alone(command, tiny_model))


@pytest.mark.parametrize("file", ["config.json", "model.safetensors", FILE_NAME])
def test_a_pipe_in_a_model_is_refused_and_not_waited_for(file: str, place: Path, tiny_model: Path) -> None:
    model = shutil.copytree(tiny_model, place / "model")
    (model / file).unlink()
    os.mkfifo(model / file)
    assert f"model/{file}: a pipe (FIFO), where a file is expected" in refused(*alone("grpo", model))


def test_a_pipe_as_a_recipe_or_a_reward_is_refused_and_not_waited_for(place: Path, tiny_model: Path) -> None:
    os.mkfifo(place / "recipe.yaml")
    assert "recipe.yaml: a pipe (FIFO), where a file is expected" in refused("run", "recipe.yaml")
    os.mkfifo(place / "mine.py")
    mine = refused(*alone("grpo", tiny_model), "--set", "rewards={'mine.py:reward': 1}")
    assert "mine.py: a pipe (FIFO), where a file is expected" in mine


def test_a_recipe_may_come_from_a_shell(place: Path) -> None:
    recipe = b"{name: tiny, stages: [{name: grow, kind: pretrain, corpus: {source: mini}, tokens: 1000000}]}"
    command = [sys.executable, "-m", "thinkery", "run", "/dev/stdin", "--dry-run"]
    done = subprocess.run(command, input=recipe, capture_output=True, timeout=240)
    assert done.stdout.decode().splitlines()[0] == "tiny in runs/tiny, seed 0", done.stderr
