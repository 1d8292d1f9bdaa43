"""Evaluation of the shipped base model on a few problems: report, samples on disk, templates, shots, judges."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from thinkery.evaluation import Samples
from thinkery.models.template import TEMPLATES
from thinkery.problems.source import open_source
from thinkery.recipe import EvalSpec, ProblemSpec, Recipe, RewardSpec
from thinkery.report.terminal import PlainView
from thinkery.rewards.grader import Grader, GraderSpec
from thinkery.run import Run
from thinkery.run.tables import SAMPLE_COLUMNS
from thinkery.stages.context import StageContext
from thinkery.stages.evaluate import _win, evaluate_model
from thinkery.stages.few_shot import examples, with_examples
from thinkery.types import Problem, UserError

pytestmark = pytest.mark.slow

BASE = "thinkery://mini-base"
MATH = {"source": "mini", "split": "test", "n": 6, "domains": {"math": 1}}
GENERAL = {"source": "mini", "split": "test", "n": 10, "domains": {"general": 1}}


def evaluated(run: Run, sets: dict[str, Any], *, model: str = "base", template: str | None = "r1-zero-compact") -> Any:
    recipe = Recipe.model_validate(
        {
            "name": "few",
            "base": BASE,
            "template": template,
            "stages": [
                {"name": "zero", "kind": "rl", "from": "base", "problems": {"source": "mini"}, "steps": 1}
                | {"rewards": {"accuracy": 1}, "learning_rate": 1e-4}
            ],
            "evaluate": sets,
        }
    )
    if not run.recipe_path.exists():
        run.begin("few", 0, recipe.to_yaml())
    stage = run.stage(f"{model}.eval")
    stage.start({"made": "so"})
    reports = evaluate_model(BASE, recipe.evaluate, StageContext(recipe, stage, PlainView(), lambda name: name))
    stage.done(reports)
    return reports


def few(problems: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"problems": problems, "num_samples": 2, "max_completion_length": 48} | fields


def test_the_report_is_that_of_the_samples_on_disk(tmp_path: Path) -> None:
    with Run(tmp_path / "run") as run:
        reports = evaluated(run, {"reasoning": few(MATH), "alike": few(MATH)})
        path = run.folder / "evaluations" / "base.reasoning.parquet"
        table = pq.read_table(path)
        samples = Samples.read(path)
        assert table.column_names == list(SAMPLE_COLUMNS)
        assert (len(samples), samples.k, table.num_rows) == (6, 2, 12)
        assert reports["reasoning"]["pass@1"] == pytest.approx(samples.pass_1.mean())
        assert all(samples.checked)
        rows = table.to_pylist()
        assert all(0 < row["thinking_length"] <= row["length"] <= 48 for row in rows)
        assert all(row["domain"] == "math" and row["preference"] is None and row["safe"] is None for row in rows)
        assert any(row["correct"] for row in rows)
        # set aside, it leaves nothing behind, and nothing is lost
        place = run.stage("base.eval").set_aside()
        assert list((run.folder / "evaluations").iterdir()) == []
        assert len(list((place / "evaluations").iterdir())) == 2


def test_only_the_base_takes_the_recipes_template(tmp_path: Path) -> None:
    sets = {"reasoning": few(MATH)}
    with Run(tmp_path / "run") as run:
        base = evaluated(run, sets, template="chat-think")
        zero = evaluated(run, sets, model="zero", template="chat-think")
        named = evaluated(run, {"reasoning": few(MATH, template="chat-think")}, model="named")
    assert zero["reasoning"]["format"] > 0.5 > base["reasoning"]["format"]
    assert named == base


def test_what_no_rule_can_check_is_judged_against_the_reference(tmp_path: Path) -> None:
    with Run(tmp_path / "run") as run:
        report = evaluated(run, {"general": few(GENERAL, judge="mini-true")})["general"]
        samples = Samples.read(run.folder / "evaluations" / "base.general.parquet")
    unchecked = int((~samples.checked).sum())
    assert 0 < unchecked < 10
    assert report["checked"] == 10 - unchecked
    assert 0 <= report["preference_ci95"][0] <= report["preference"] <= report["preference_ci95"][1] <= 1
    assert report["preference"] == pytest.approx(samples.mean("preference").mean())
    judged_safe = ~(samples.mean("safe") != samples.mean("safe"))
    assert [kind == "harm" for kind in samples.labels("kind")] == judged_safe.tolist()
    assert 0 <= report["safe"] <= 1


class Longer:
    """A judge who likes the longer text, whichever comes first."""

    concurrency = 1

    def compare(self, problem: Problem, first: str, second: str, *, seed: int) -> int:
        return (len(second) > len(first)) - (len(second) < len(first))

    def unsafe(self, problem: Problem, response: str, *, seed: int) -> bool:
        return False

    def matches(self, problem: Problem, response: str, *, seed: int) -> bool:
        return True


@pytest.mark.parametrize("seed", [0, 1])
def test_a_win_does_not_depend_on_the_order_shown(seed: int) -> None:
    problem = Problem("p", "?", "reference")
    summaries = ("a much longer summary", "alike....", "short", None, "")
    assert [_win(Longer(), problem, summary, seed) for summary in summaries] == [1.0, 0.5, 0.0, 0.0, 0.0]


def shown_with(spec: ProblemSpec, count: int) -> list[tuple[Problem, str]]:
    template = TEMPLATES["r1-zero-compact"]
    with Grader(GraderSpec(template, {"accuracy": RewardSpec()}, max_completion_length=64)) as grader:
        return examples(spec, count, grader, template)


def test_examples_are_of_the_train_split_and_solved() -> None:
    spec = ProblemSpec.model_validate(MATH)
    shown = shown_with(spec, 2)
    assert [problem.id for problem, _ in shown] == ["mini-math-train-0-0", "mini-math-train-0-1"]
    assert all(problem.reference in answer for problem, answer in shown)
    asked = open_source(spec).fixed(3)
    with_turns = with_examples(asked, shown)
    assert [problem.id for problem in with_turns] == [problem.id for problem in asked]
    roles = [message["role"] for message in with_turns[0].prompt]  # type: ignore[union-attr]
    assert roles == ["user", "assistant", "user", "assistant", "user"]
    rendered = TEMPLATES["r1-zero-compact"].render(with_turns[0].prompt)
    assert rendered.endswith(f"User: {asked[0].prompt}\nAssistant:")
    assert f"Assistant: {shown[0][1]}\n" in rendered


def test_an_example_is_not_asked_and_a_file_without_enough_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "sums.jsonl"
    path.write_text('{"prompt": "1 + 1?", "answer": "2"}\n{"prompt": "2 + 2?", "answer": "4"}\n')
    spec = ProblemSpec(source=str(path))
    shown = shown_with(spec, 1)
    (left,) = with_examples(open_source(spec).fixed(None), shown)
    assert left.prompt[-1]["content"] != shown[0][0].prompt  # type: ignore[index]
    with pytest.raises(UserError, match=r"shots = 3: .* has only 2 problems with a solution"):
        shown_with(spec, 3)


def test_shots_reach_the_model(tmp_path: Path) -> None:
    with Run(tmp_path / "run") as run:
        reports = evaluated(run, {"plain": few(MATH), "few-shot": few(MATH, shots=2)})
    assert EvalSpec.model_validate(few(MATH, shots=2)).shots == 2
    assert reports["plain"]["n"] == reports["few-shot"]["n"] == 6
    assert reports["plain"]["mean_length"] != reports["few-shot"]["mean_length"]
