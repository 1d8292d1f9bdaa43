"""Supervised fine-tuning through the pipeline: what was learnt is sampled back, killed runs go on, errors are told.

Left out: the learner by itself (``tests/training``) and layouts of files (``tests/problems``).
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from transformers import (
    AddedToken,
    AutoModelForCausalLM,
    AutoTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerBase,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from thinkery.models.loading import load_policy, resolve_model
from thinkery.models.template import TEMPLATES
from thinkery.pipeline import run_recipe
from thinkery.recipe import Recipe
from thinkery.report.terminal import PlainView
from thinkery.rollout.native.engine import NativeRollout
from thinkery.types import Problem, Sampling, UserError

pytestmark = pytest.mark.slow

Row = dict[str, Any]
ROWS: list[Row] = [
    {"prompt": f"Find the value of {a}*{b}.", "thinking": f"{a}*{b}={a * b}. Correct.", "answer": f"It is {a * b}."}
    for a, b in ((3, 4), (5, 6), (7, 8), (9, 2), (6, 6), (8, 3))
]
ROWS += [
    {"prompt": "你好！", "thinking": "", "answer": "你好，有什么可以帮您？", "language": "zh"},
    {"prompt": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}], "answer": "Hi."},
]
# The process kills itself the moment a step is shown, before that step's checkpoint.
KILLED = """
import os, signal, sys
from pathlib import Path
from thinkery.pipeline import run_recipe
from thinkery.recipe import load_recipe
from thinkery.report.terminal import PlainView

class Kill(PlainView):
    def step(self, step, metrics):
        if step == int(sys.argv[3]):
            os.kill(os.getpid(), signal.SIGKILL)

run_recipe(load_recipe(Path(sys.argv[1])), Path(sys.argv[2]), view=Kill())
"""


def data_of(folder: Path, rows: Sequence[Row] = ROWS, name: str = "demonstrations.jsonl") -> Path:
    path = folder / name
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def recipe_of(data: object, **settings: object) -> Recipe:
    stage = {
        "name": "dev1",
        "kind": "sft",
        "from": "base",
        "data": [str(data)] if isinstance(data, Path) else data,
        "template": "r1-compact",
        "batch_size": 8,
        "epochs": 1,
        "learning_rate": 1e-3,
        "dtype": "float32",
    }
    base = settings.pop("base", "thinkery://mini-base")
    return Recipe.model_validate({"name": "short", "base": str(base), "stages": [stage | settings]})


def run(recipe: Recipe, folder: Path) -> Row:
    stages: dict[str, Row] = run_recipe(recipe, folder, view=PlainView())["stages"]
    return stages["dev1"]


def model_of(folder: Path) -> Path:
    return folder / "checkpoints" / "dev1" / "model"


def greedy(model: Path, rows: Sequence[Row], length: int = 96) -> list[tuple[str, str]]:
    """What the model answers, in the rows' order, and why it stopped."""
    rollout = NativeRollout(load_policy(model, template=None, dtype="float32"))
    problems = [
        Problem(str(i), tuple(p) if isinstance(p := row["prompt"], list) else p, "") for i, row in enumerate(rows)
    ]
    sampling = Sampling(temperature=0.0, max_completion_length=length)
    completions = {c.problem_id: c for c in rollout.generate(problems, sampling, seed=0, step=0, stage="test")}
    return [(completions[p.id].text, completions[p.id].finish_reason) for p in problems]


@pytest.fixture(scope="module")
def learnt(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Row]:
    """A run that has learnt eight demonstrations by heart, and its summary."""
    folder = tmp_path_factory.mktemp("runs")
    return folder / "learnt", run(
        recipe_of(data_of(folder), epochs=60, learning_rate=3e-3, dtype="bfloat16"), folder / "learnt"
    )


def test_demonstrations_learnt_by_heart_are_sampled_back_and_end_where_they_end(learnt: tuple[Path, Row]) -> None:
    template = TEMPLATES["r1-compact"]
    written = [(template.write(row.get("thinking", ""), row["answer"]), "stop") for row in ROWS]
    assert greedy(model_of(learnt[0]), ROWS) == written


def test_transformers_alone_stops_there_too(learnt: tuple[Path, Row]) -> None:
    model, tokenizer = (kind.from_pretrained(model_of(learnt[0])) for kind in (AutoModelForCausalLM, AutoTokenizer))
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": ROWS[0]["prompt"]}], tokenize=False, add_generation_prompt=True
    )
    inputs = tokenizer(prompt, add_special_tokens=False, return_tensors="pt")
    output = model.generate(**inputs, max_new_tokens=96, do_sample=False)[0, inputs["input_ids"].shape[1] :]
    text = tokenizer.decode(output, skip_special_tokens=False)
    assert text == f"{ROWS[0]['thinking']}</think>{ROWS[0]['answer']}{tokenizer.eos_token}"


def test_the_summary_and_the_metrics_say_what_was_learnt(learnt: tuple[Path, Row]) -> None:
    folder, summary = learnt
    assert summary["demonstrations"] == 8
    assert summary["left_out"] == 0
    assert summary["updates"] == 60
    assert summary["domains"] == {"general": 8}
    assert summary["loss"] < 0.2 < 2 < summary["loss_first"]
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, 61))
    assert {"loss", "entropy", "grad_norm", "learning_rate", "tokens", "tokens_per_second"} <= lines[0].keys()
    assert lines[-1]["tokens"] == summary["tokens"] == 60 * lines[0]["tokens"]
    assert lines[0]["loss"] == summary["loss_first"]


def test_killed_and_started_again_the_weights_and_metrics_are_the_same_bits(tmp_path: Path) -> None:
    recipe = recipe_of(data_of(tmp_path), batch_size=3, epochs=2, save_steps=1, warmup_steps=2, optimizer="muon")
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe.model_dump(mode="json", by_alias=True, exclude_none=True)))
    killed = [sys.executable, "-c", KILLED, str(path), str(tmp_path / "killed"), "4"]
    assert subprocess.run(killed, timeout=120).returncode == -signal.SIGKILL
    assert not model_of(tmp_path / "killed").exists()
    resumed, whole = run(recipe, tmp_path / "killed"), run(recipe, tmp_path / "whole")
    assert resumed | {"seconds": 0} == whole | {"seconds": 0}
    weights = [(model_of(tmp_path / name) / "model.safetensors").read_bytes() for name in ("killed", "whole")]
    assert weights[0] == weights[1]
    timing = ("time", "tokens_per_second")
    metrics = [
        [
            {key: value for key, value in json.loads(line).items() if not key.startswith(timing)}
            for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()
        ]
        for name in ("killed", "whole")
    ]
    assert metrics[0] == metrics[1]
    assert len(metrics[0]) == 6


def test_what_is_too_long_is_left_out_and_counted(tmp_path: Path) -> None:
    long = {"prompt": "Count.", "thinking": " ".join(map(str, range(400))), "answer": "Done.", "domain": "counting"}
    summary = run(recipe_of(data_of(tmp_path, [*ROWS, long]), max_length=300), tmp_path / "run")
    assert (summary["demonstrations"], summary["left_out"], summary["domains"]) == (8, 1, {"general": 8})


def test_the_miniature_worlds_general_domain_can_be_mixed_in(tmp_path: Path) -> None:
    data = [str(data_of(tmp_path)), {"source": "mini", "share": 0.2}]
    summary = run(recipe_of(data), tmp_path / "run")
    assert summary["demonstrations"] == 10


def student(folder: Path, kind: str, *, change: Callable[[PreTrainedTokenizerBase], None] | None = None) -> Path:
    """A tiny checkpoint of another family, without a template of ours, with the miniature world's tokenizer."""
    tokenizer = AutoTokenizer.from_pretrained(resolve_model("thinkery://mini-base"))
    if change is not None:
        change(tokenizer)
    shape = {"vocab_size": len(tokenizer) + 5, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    shape |= {"num_attention_heads": 2, "num_key_value_heads": 1, "eos_token_id": tokenizer.eos_token_id}
    torch.manual_seed(0)
    if kind == "llama":
        model = LlamaForCausalLM(LlamaConfig(**shape, tie_word_embeddings=False))
    else:
        model = Qwen2ForCausalLM(Qwen2Config(**shape, tie_word_embeddings=True))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("kind", ["llama", "qwen2"])
def test_students_of_other_families_learn_and_keep_the_template(kind: str, tmp_path: Path) -> None:
    base = student(tmp_path / "student", kind)
    rows = ROWS[-2:]
    recipe = recipe_of(data_of(tmp_path, rows), base=base, epochs=80, learning_rate=1e-2)
    run(recipe, tmp_path / "run")
    saved = model_of(tmp_path / "run")
    assert greedy(saved, rows) == [(f"</think>{row['answer']}", "stop") for row in rows]
    config = AutoModelForCausalLM.from_pretrained(saved).config
    assert (config.model_type, config.tie_word_embeddings) == (kind, kind == "qwen2")


def with_turns(tokenizer: PreTrainedTokenizerBase) -> None:
    tokenizer.add_tokens([AddedToken(mark, special=True) for mark in ("<|im_start|>", "<|im_end|>")])


def test_a_turns_own_end_token_is_learnt_and_kept_as_one_to_stop_at(tmp_path: Path) -> None:
    base = student(tmp_path / "chat", "qwen2", change=with_turns)
    rows = ROWS[-2:]
    recipe = recipe_of(data_of(tmp_path, rows), base=base, epochs=80, learning_rate=1e-2, template="chat-think")
    run(recipe, tmp_path / "run")
    policy = load_policy(model_of(tmp_path / "run"), template=None, dtype="float32")
    end = policy.tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert policy.end_token_id == end
    assert policy.eos_token_ids == tuple(sorted((policy.tokenizer.eos_token_id, end)))
    problem = Problem("hello", tuple(rows[1]["prompt"]), "")
    sampling = Sampling(temperature=0.0, max_completion_length=40)
    completion = next(NativeRollout(policy).generate([problem], sampling, seed=0, step=0, stage="test"))
    assert (completion.text, completion.token_ids[-1]) == ("</think>Hi.", end)


def without_end(tokenizer: PreTrainedTokenizerBase) -> None:
    tokenizer.eos_token = None


@pytest.mark.parametrize(
    ("rows", "settings", "message"),
    [
        ([], {}, r"demonstrations\.jsonl: empty"),
        ([{"text": "All in one."}], {}, r"demonstrations\.jsonl, line 1: no field for the answer"),
        ([*ROWS, {"prompt": "Who?"}], {}, r"demonstrations\.jsonl, line 9: the field answer must be text"),
        (ROWS, {"max_length": 5}, r"dev1: nothing to learn from: all 8 demonstrations are longer than 5 tokens"),
        (
            [{"id": "odd", "prompt": "Tags?", "thinking": "I write </think> here.", "answer": "Done."}],
            {},
            r"the demonstration odd: the template r1-compact would not read its thinking and answer back",
        ),
        (
            [{"id": "odd", "prompt": "End?", "answer": "It ends with <|endoftext|>, always."}],
            {},
            r"the demonstration odd: its text holds <\|endoftext\|>, at which completions end",
        ),
        (
            [{"id": "odd", "prompt": "A talk?", "answer": "Here:\nUser: Hi.\nAssistant: Hello."}],
            {},
            r"the demonstration odd: its text holds '\\nUser:', where the template r1-compact ends a completion",
        ),
    ],
)
def test_what_can_not_be_learnt_is_refused_before_training(
    rows: list[Row], settings: Row, message: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=message):
        run(recipe_of(data_of(tmp_path, rows), **settings), tmp_path / "run")
    assert not (tmp_path / "run" / "metrics.jsonl").exists()


def test_a_student_whose_tokenizer_has_no_end_is_refused(tmp_path: Path) -> None:
    base = student(tmp_path / "endless", "llama", change=without_end)
    with pytest.raises(UserError, match="has no end-of-sequence token"):
        run(recipe_of(data_of(tmp_path), base=base), tmp_path / "run")
