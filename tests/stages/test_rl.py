"""Reinforcement learning end to end: from the shipped base, through the pipeline, killed and resumed."""

from __future__ import annotations

import json
import signal
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml
from transformers import AutoModelForCausalLM, AutoTokenizer

from thinkery.pipeline import Stopped, run_recipe
from thinkery.recipe import Recipe
from thinkery.report.terminal import PlainView
from thinkery.types import UserError

pytestmark = pytest.mark.slow

THINKERY = Path(sys.executable).parent / "thinkery"
MATH: dict[str, Any] = {"source": "mini", "domains": {"math": 1}}


def recipe_of(name: str = "short", evaluate: int = 0, **settings: object) -> Recipe:
    """R1-Zero from the shipped base, small enough for a test."""
    stage = {
        "name": "zero",
        "kind": "rl",
        "from": "base",
        "problems": MATH,
        "rewards": {"accuracy": 1, "format": 1},
        "num_problems": 4,
        "num_generations": 4,
        "max_completion_length": 48,
        "learning_rate": 3e-4,
        "log_completions_steps": 1,
        "save_steps": 1,
    }
    data = {"name": name, "base": "thinkery://mini-base", "stages": [stage | settings]}
    if evaluate:
        problems = MATH | {"split": "test", "n": evaluate}
        data["evaluate"] = {"reasoning": {"problems": problems, "num_samples": 4, "max_completion_length": 160}}
    return Recipe.model_validate(data)


def metrics_of(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def learnt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run long enough to learn something."""
    folder = tmp_path_factory.mktemp("runs") / "learnt"
    recipe = recipe_of(
        steps=14, num_problems=16, num_generations=16, max_completion_length=128, evaluate=40, save_steps=100
    )
    run_recipe(recipe, folder, view=PlainView())
    return folder


def test_reinforcement_learning_from_the_shipped_base_improves(learnt: Path) -> None:
    steps = [line for line in metrics_of(learnt) if line["stage"] == "zero"]
    first, last = steps[:3], steps[-3:]
    assert len(steps) == 14
    for name, gain in (("reward", 0.35), ("accuracy", 0.08), ("format", 0.2)):
        before, after = (statistics.fmean(step[name] for step in part) for part in (first, last))
        assert after > before + gain, (name, before, after)


def test_the_held_out_evaluation_improves_and_is_complete(learnt: Path) -> None:
    summary = json.loads((learnt / "summary.json").read_text())
    base, zero = summary["base"]["eval"]["reasoning"], summary["stages"]["zero"]["eval"]["reasoning"]
    assert zero["pass@1"] > base["pass@1"]
    low, high = zero["pass@1_ci95"]
    assert low <= zero["pass@1"] <= high
    assert {"n", "k", "pass@4", "cons@4", "format", "mean_length", "truncated"} <= zero.keys()
    assert zero["by_level"].keys() == {"1", "2", "3", "4", "5"}
    assert summary["stages"]["zero"]["seconds"] > 0


def test_the_first_step_is_on_policy_and_the_mismatch_is_logged_every_step(learnt: Path) -> None:
    steps = [line for line in metrics_of(learnt) if line["stage"] == "zero"]
    assert all(0 <= step["mismatch_kl"] < 1e-3 and step["mismatch_abs"] < 0.05 for step in steps)
    assert steps[0]["clip_ratio/low"] == steps[0]["clip_ratio/high"] == 0


def test_in_fp32_engine_and_learner_agree_and_the_first_step_starts_at_its_reference(tmp_path: Path) -> None:
    recipe = recipe_of(steps=1, num_problems=8, max_completion_length=96, dtype="float32", beta=0.01)
    run_recipe(recipe, tmp_path / "run", view=PlainView())
    (step,) = metrics_of(tmp_path / "run")
    assert step["mismatch_abs"] < 1e-5
    assert step["kl"] == 0
    assert step["ratio/max"] == 1


def test_the_output_loads_with_transformers_and_generates(learnt: Path) -> None:
    folder = learnt / "checkpoints" / "zero" / "model"
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    messages = [{"role": "user", "content": "What is 12+30?"}]
    prompt = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    inputs = tokenizer(prompt, return_tensors="pt", add_special_tokens=False)
    output = model.generate(**inputs, max_new_tokens=48, do_sample=False)
    assert "<answer>" in tokenizer.decode(output[0])


def test_a_run_folder_holds_what_it_should(learnt: Path) -> None:
    for name in ("recipe.yaml", "manifest.json", "metrics.jsonl", "summary.json", "report.html"):
        assert (learnt / name).stat().st_size > 0
    assert list((learnt / "completions").glob("zero-*.parquet"))
    assert list((learnt / "tensorboard").rglob("*tfevents*"))
    assert json.loads((learnt / "manifest.json").read_text())["stages"]["zero"]["status"] == "done"


def weights_of(folder: Path) -> bytes:
    return (folder / "checkpoints" / "zero" / "model" / "model.safetensors").read_bytes()


class Interrupted(PlainView):
    """Someone presses Ctrl-C after so many steps, before the last one's checkpoint is written."""

    def __init__(self, after: int) -> None:
        super().__init__()
        self._left = after

    def completion(self, prompt: str, text: str, reward: float, correct: bool) -> None:
        self._left -= 1
        if not self._left:
            raise KeyboardInterrupt


def settings_of(kind: str) -> dict[str, Any]:
    """Five steps with everything that has a state."""
    updates = {"steps": 5, "num_minibatches": 2, "warmup_steps": 2, "save_steps": 2}
    probe = {"problems": MATH | {"split": "test", "n": 4, "levels": [1]}, "every": 2, "num_samples": 2, "max_drop": 1}
    rewards = {"accuracy": 1, "format": {"weight": 1, "from_step": 3}}
    match kind:
        case "grpo":
            return updates | {"save_steps": 1, "beta": 0.01, "reference_refresh_steps": 2}
        case "teacher":
            return updates | {"teacher": "thinkery://mini-base", "rewards": rewards, "probe": probe}
        case _:
            return updates | {"preset": "ppo", "value_warmup_steps": 1, "gae_lambda": 0.9, "probe": probe}


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    folder = tmp_path_factory.mktemp("uninterrupted")

    def run(kind: str) -> Path:
        if not (folder / kind).exists():
            run_recipe(recipe_of(**settings_of(kind)), folder / kind, view=PlainView())
        return folder / kind

    return run


def assert_the_same(folder: Path, other: Path) -> None:
    assert weights_of(folder) == weights_of(other)
    timing = ("time", "tokens_per_second")
    ours, theirs = (
        [{k: v for k, v in line.items() if not k.startswith(timing)} for line in metrics_of(f)] for f in (folder, other)
    )
    assert ours == theirs
    assert [line["step"] for line in ours][-5:] == [1, 2, 3, 4, 5]


def test_killed_and_started_again_the_weights_are_the_same_bits(
    uninterrupted: Callable[[str], Path], tmp_path: Path
) -> None:
    recipe = recipe_of(**settings_of("grpo"))
    path = tmp_path / "short.yaml"
    path.write_text(yaml.safe_dump(recipe.model_dump(mode="json", by_alias=True, exclude_none=True)))
    command = [THINKERY, "run", path, "--output-dir", tmp_path / "run"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        shown = 0
        for line in process.stdout:  # one completion is shown a step, before the step's checkpoint is written
            shown += line.startswith("-- ")
            if shown == 2:
                process.send_signal(signal.SIGKILL)
                break
    assert process.returncode == -signal.SIGKILL
    assert not (tmp_path / "run" / "checkpoints" / "zero" / "model").exists()
    subprocess.run(command, check=True, timeout=300)
    assert_the_same(tmp_path / "run", uninterrupted("grpo"))


@pytest.mark.parametrize(("kind", "after"), [("grpo", 1), ("grpo", 4), ("teacher", 4), ("ppo", 3)])
def test_interrupted_at_any_step_and_with_any_state_the_weights_are_the_same_bits(
    kind: str, after: int, uninterrupted: Callable[[str], Path], tmp_path: Path
) -> None:
    recipe = recipe_of(**settings_of(kind))
    with pytest.raises(Stopped):
        run_recipe(recipe, tmp_path / "run", view=Interrupted(after))
    run_recipe(recipe, tmp_path / "run", view=PlainView())
    assert_the_same(tmp_path / "run", uninterrupted(kind))


def test_another_seed_gives_another_policy(uninterrupted: Callable[[str], Path], tmp_path: Path) -> None:
    recipe = recipe_of(**settings_of("grpo")).model_copy(update={"seed": 1})
    run_recipe(recipe, tmp_path / "run", view=PlainView())
    assert weights_of(tmp_path / "run") != weights_of(uninterrupted("grpo"))


def problem_file(path: Path, *more: dict[str, object]) -> Path:
    """A user's own problems, one of them answered by an expression."""
    rows = [{"prompt": f"What is {a}+{b}?", "answer": a + b, "source": "mine"} for a in range(3) for b in range(3)]
    rows += [{"prompt": "Write one half as a fraction.", "solution": r"\frac{1}{2}", "level": 2}, *more]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_a_users_own_problems_and_a_folder_as_the_base(learnt: Path, tmp_path: Path) -> None:
    model = learnt / "checkpoints" / "zero" / "model"
    path = problem_file(tmp_path / "mine.jsonl")
    recipe = recipe_of(steps=3, problems={"source": str(path)}, **{"from": str(model)})
    summary = run_recipe(recipe, tmp_path / "run", view=PlainView())
    assert summary["stages"]["zero"]["accuracy"] > 0
    rows = [line for line in metrics_of(tmp_path / "run") if line["stage"] == "zero"]
    assert [row["step"] for row in rows] == [1, 2, 3]
    assert {"accuracy/level_0", "accuracy/lang_en"} <= rows[0].keys()


def test_a_reference_that_its_verifier_refuses_stops_the_stage_before_its_first_step(tmp_path: Path) -> None:
    tests = {"language": "python", "test_cases": [{"input": "2", "output": "4", "type": "stdin_stdout"}]}
    broken = {"id": "broken", "prompt": "Double it.", "answer": json.dumps(tests), "verifier": "code"}
    path = problem_file(tmp_path / "mine.jsonl", broken | {"solution_code": "print(5)"})
    with pytest.raises(UserError, match=r"(?s)1 of 11 problems have a reference .*broken: "):
        run_recipe(recipe_of(steps=4, problems={"source": str(path)}), tmp_path / "run", view=PlainView())
    assert not (tmp_path / "run" / "metrics.jsonl").exists()


def test_a_problem_whose_reference_cannot_be_read_is_left_out_and_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = problem_file(tmp_path / "mine.jsonl", {"id": "unreadable", "prompt": "?", "answer": r"\frac{1"})
    recipe = recipe_of(steps=3, problems={"source": str(path)}, log_completions=1000)
    run_recipe(recipe, tmp_path / "run", view=PlainView())
    shown = capsys.readouterr().out
    assert "1 of 11 references can't be read; their problems are left out:" in shown
    assert "unreadable: " in shown
    files = sorted((tmp_path / "run" / "completions").rglob("*.parquet"))
    rows = [row for file in files for row in pq.read_table(file).to_pylist()]
    assert {row["problem_id"] for row in rows} == {f"mine-{n}" for n in range(1, 11)}


def test_a_reward_of_the_users_is_learnt_from_and_its_file_is_part_of_what_the_stage_is_made_from(
    tmp_path: Path,
) -> None:
    (tmp_path / "mine.py").write_text(
        "def short(completions, **columns):\n    return [-len(c) / 100 for c in completions]\n"
    )
    rewards = {"accuracy": 1, f"{tmp_path / 'mine.py'}:short": {"weight": 0.5}}
    recipe = recipe_of(steps=2, rewards=rewards)
    run_recipe(recipe, tmp_path / "run", view=PlainView())
    name = f"rewards/{tmp_path / 'mine.py'}:short/mean"
    rows = [line for line in metrics_of(tmp_path / "run") if line["stage"] == "zero"]
    assert all(row[name] < 0 for row in rows)
    before = json.loads((tmp_path / "run" / "manifest.json").read_text())["stages"]["zero"]
    (tmp_path / "mine.py").write_text("def short(completions, **columns):\n    return [1.0 for c in completions]\n")
    with pytest.raises(UserError, match=r"zero: file mine\.py: other content"):
        run_recipe(recipe, tmp_path / "run", view=PlainView())
    run_recipe(recipe, tmp_path / "run", view=PlainView(), force=True)
    after = json.loads((tmp_path / "run" / "manifest.json").read_text())["stages"]["zero"]
    assert before["inputs"] != after["inputs"]
    assert [line for line in metrics_of(tmp_path / "run") if line["stage"] == "zero"][-1][name] == 1.0


def test_a_stage_in_which_no_step_had_a_signal_stops_and_says_why(tmp_path: Path) -> None:
    """Also when it is interrupted on the way: what was seen before counts."""
    recipe = recipe_of(steps=40, max_completion_length=2, beta=0.01, no_signal_steps=3)
    with pytest.raises(Stopped):
        run_recipe(recipe, tmp_path / "run", view=Interrupted(2))
    with pytest.raises(UserError) as caught:
        run_recipe(recipe, tmp_path / "run", view=PlainView())
    said = str(caught.value).splitlines()
    assert said[0].startswith("zero: no step had any signal: in 3 steps with 48 completions the completions of every")
    assert said[1] == "  mean of each reward: accuracy 0, format 0"
    assert said[2] == "  100% of completions were cut off: raise max_completion_length = 2."
    assert [line["step"] for line in metrics_of(tmp_path / "run")] == [1, 2, 3]
    assert json.loads((tmp_path / "run" / "manifest.json").read_text())["stages"]["zero"]["status"] != "done"
    assert not (tmp_path / "run" / "checkpoints" / "zero" / "model").exists()


def test_a_reward_that_ends_its_process_ends_the_run_in_words(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("import os\ndef leaves(completions):\n    os._exit(0)\n")
    recipe = recipe_of(steps=3, rewards={"accuracy": 1, f"{tmp_path / 'mine.py'}:leaves": 1})
    with pytest.raises(UserError, match=r"mine.py:leaves' ended its process with exit code 0"):
        run_recipe(recipe, tmp_path / "run", view=PlainView())
    assert json.loads((tmp_path / "run" / "manifest.json").read_text())["stages"]["zero"]["status"] != "done"


def test_a_reward_that_misses_its_deadline_can_count_as_zero_and_is_started_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = f"{tmp_path / 'mine.py'}:slow"
    (tmp_path / "mine.py").write_text(
        "import re\n"
        "def slow(completions):\n"
        "    re.match(r'(a+)+$', 'a' * 60 + 'b')\n"
        "    return [1.0 for _ in completions]\n"
    )
    rewards = {"format": 1, "length": {"weight": 0.1, "buffer": 40}, name: 1}
    recipe = recipe_of(steps=2, rewards=rewards, reward_errors="zero", reward_timeout_s=0.3)
    run_recipe(recipe, tmp_path / "run", view=PlainView())
    steps = metrics_of(tmp_path / "run")
    assert [step["rewards/restarts"] for step in steps] == [1, 1]
    assert [step[f"rewards/{name}/errors"] for step in steps] == [16, 16]
    said = capsys.readouterr().out
    assert said.count("was not done at its deadline") == 1
    assert f"{tmp_path / 'mine.py'}, line 3: re.match(" in said


def test_totals_that_no_float_can_square_are_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def huge(completions):\n    return [1e17 for _ in completions]\n")
    recipe = recipe_of(steps=1, rewards={f"{tmp_path / 'mine.py'}:huge": 100})
    with pytest.raises(UserError, match=r"the total reward of completion 0 of problem .* is 1e\+19, and it must be"):
        run_recipe(recipe, tmp_path / "run", view=PlainView())


def test_a_reference_that_its_verifier_refuses_is_left_out_where_the_recipe_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tests = {"language": "python", "test_cases": [{"input": "2", "output": "4", "type": "stdin_stdout"}]}
    broken = {"id": "broken", "prompt": "Double it.", "answer": json.dumps(tests), "verifier": "code"}
    path = problem_file(tmp_path / "mine.jsonl", broken | {"solution_code": "print(5)"})
    problems = {"source": str(path), "on_bad_row": "skip"}
    run_recipe(recipe_of(steps=4, problems=problems, log_completions=1000), tmp_path / "run", view=PlainView())
    shown = capsys.readouterr().out
    assert "1 of 11 references are not accepted by their verifier:" in shown
    assert f", in {path}, line " in shown
    files = sorted((tmp_path / "run" / "completions").rglob("*.parquet"))
    rows = [row for file in files for row in pq.read_table(file).to_pylist()]
    assert "broken" not in {row["problem_id"] for row in rows}
