"""The pipeline as a state machine over real run folders. The stages are small functions, given through ``runners``."""

from __future__ import annotations

import json
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from thinkery.models.loading import resolve_model
from thinkery.pipeline import Stopped, describe_dry_run, run_recipe
from thinkery.recipe import (
    TRUST_REMOTE_CODE,
    UNSAFE_LOCAL,
    EvalSpec,
    Recipe,
    RLStage,
    Stage,
    load_recipe,
)
from thinkery.report.terminal import PlainView
from thinkery.run import Run
from thinkery.sandbox import isolation
from thinkery.stages.context import StageContext
from thinkery.types import UserError

pytestmark = pytest.mark.slow

LADDER = """
name: ladder
base: {base}
stages:
  - name: zero
    kind: rl
    from: base
    problems: {{source: {problems}}}
    rewards: {{accuracy: 1}}
    steps: 6
    learning_rate: 1
  - {{name: next, kind: rl, from: zero, problems: {{source: mini}}, rewards: {{format: 1}}, steps: 2, learning_rate: 1}}
evaluate:
  held-out: {{problems: {{source: mini, split: test}}}}
"""


DATA_LADDER = """
name: ladder
base: {base}
stages:
  - {{name: cold, kind: collect, from: base, problems: {{source: mini, n: 4, also: [{{source: {problems}}}]}}}}
  - {{name: dev, kind: sft, from: base, data: [cold, {users}]}}
  - {{name: pairs, kind: judge, task: preference, from: dev, problems: {{source: mini, n: 4}}, judge: mini}}
  - {{name: rm, kind: reward_model, objective: pairwise, reads: summary, from: dev, data: [pairs]}}
  - name: last
    kind: rl
    from: dev
    problems: {{source: mini}}
    rewards: {{helpful: {{model: rm}}}}
    steps: 2
    learning_rate: 1
evaluate:
  all: {{problems: {{source: mini, split: test}}}}
  ends: {{problems: {{source: mini, split: test}}, models: [base, last]}}
"""


class School:
    """Runners that record what they were asked to do. Training adds ``learning_rate`` to a number in a file."""

    def __init__(self, folder: Path) -> None:
        self.calls: list[str] = []
        self.interrupt_at: int | None = None
        self.base = folder / "base"
        self.base.mkdir()
        for path in Path(resolve_model("thinkery://mini-base")).glob("*.json"):  # all but the weights
            shutil.copy(path, self.base)
        (self.base / "number").write_text("0")
        self.problems = folder / "problems.jsonl"
        self.problems.write_text('{"prompt": "1+1", "answer": "2"}\n')
        self.recipe_path = folder / "ladder.yaml"
        self.recipe_path.write_text(LADDER.format(base=self.base, problems=self.problems))
        self.folder = folder / "run"

    def recipe(self, *overrides: str, seed: int | None = None) -> Recipe:
        return load_recipe(self.recipe_path, overrides, seed)

    def run(self, recipe: Recipe | None = None, **arguments: Any) -> dict[str, Any]:
        self.calls.clear()
        return run_recipe(recipe or self.recipe(), self.folder, view=PlainView(), runners=self.runner_of, **arguments)

    def runner_of(self, kind: str) -> Callable[..., dict[str, Any]]:
        return {"evaluate": self.evaluate, "rl": self.train}.get(kind, self.make)

    def train(self, stage: RLStage, context: StageContext) -> dict[str, Any]:
        checkpoint = context.run.latest_checkpoint()
        step, place = checkpoint or (0, Path(context.resolve(stage.from_)))
        self.calls.append(f"{stage.name} from {step}")
        number = float((place / "number").read_text())

        def write(folder: Path) -> None:
            (folder / "number").write_text(str(number))

        while step < stage.steps:
            step += 1
            number += stage.learning_rate
            context.run.log(step, {"number": number})
            if step == self.interrupt_at:
                raise KeyboardInterrupt
            if step % 2 == 0:
                context.run.save_checkpoint(step, write)
        context.run.save_output(write)
        return {"number": number}

    def make(self, stage: Stage, context: StageContext) -> dict[str, Any]:
        """A stage that is not RL: its result is what it was made from."""
        self.calls.append(stage.name)
        made_from = [model for _, model in stage.policies()] + [spec.source for _, spec in stage.data_specs()]
        places = {name: context.resolve(name) for name in made_from if "." not in name}
        texts = [f"{name}({(Path(place) / 'made').read_text()})" for name, place in places.items() if name != "base"]

        def write(folder: Path) -> None:
            (folder / "made").write_text(" ".join(texts))
            (folder / "number").write_text("0")

        context.run.save_output(write)
        return {}

    def evaluate(self, model: str, specs: Mapping[str, EvalSpec], context: StageContext) -> dict[str, Any]:
        self.calls.append(context.run.name)
        number = float((Path(model) / "number").read_text())
        return {name: {"pass@1": number / 10, "n": spec.num_samples} for name, spec in specs.items()}


ALL = ["base.eval", "zero from 0", "zero.eval", "next from 0", "next.eval"]


@pytest.fixture
def school(tmp_path: Path) -> School:
    return School(tmp_path)


def test_the_manifest_says_of_every_session_what_it_was_allowed(school: School) -> None:
    for allow in ([TRUST_REMOTE_CODE], [], [UNSAFE_LOCAL, TRUST_REMOTE_CODE]):
        school.run(load_recipe(school.recipe_path, allow=allow), force=UNSAFE_LOCAL in allow)
        if not allow:
            assert school.calls == []  # whether models' own code may run makes no other recipe and no other result
    sessions = json.loads((school.folder / "manifest.json").read_text())["sessions"]
    assert [session["trust_remote_code"] for session in sessions] == [True, False, True]
    assert [session["unsafe_local"] for session in sessions] == [False, False, True]
    with pytest.raises(UserError, match=r"verification\.code\.unsafe_local: True -> False"):
        school.run()  # what the folder's recipe was allowed then is read, and gives no permission now


def test_a_recipe_is_run_once(school: School) -> None:
    summary = school.run()
    assert school.calls == ALL
    assert summary["base"] == {"eval": {"held-out": {"pass@1": 0.0, "n": 16}}}
    assert list(summary["stages"]) == ["zero", "next"]
    zero = summary["stages"]["zero"]
    assert zero["eval"] == {"held-out": {"pass@1": 0.6, "n": 16}}
    assert zero["number"] == 6
    assert zero["seconds"] >= 0
    assert json.loads((school.folder / "summary.json").read_text()) == summary
    assert "<html" in (school.folder / "report.html").read_text()
    assert load_recipe(school.folder / "recipe.yaml") == school.recipe()
    manifest = json.loads((school.folder / "manifest.json").read_text())
    assert {name: record["status"] for name, record in manifest["stages"].items()} == dict.fromkeys(
        ["base.eval", "zero", "zero.eval", "next", "next.eval"], "done"
    )
    assert school.run() == summary
    assert school.calls == []


def test_until_stops_there_and_the_rest_follows_later(school: School) -> None:
    summary = school.run(until="zero")
    assert school.calls == ALL[:3]
    assert list(summary["stages"]) == ["zero"]
    school.run()
    assert school.calls == ALL[3:]
    with pytest.raises(UserError, match="--until zreo: no such stage; stages: zero, next"):
        school.run(until="zreo")


def test_an_interrupted_stage_goes_on_from_its_checkpoint_and_ends_the_same(school: School, tmp_path: Path) -> None:
    school.interrupt_at = 5
    with pytest.raises(Stopped, match=r"^stopped at zero step 5; run the same command to resume$"):
        school.run()
    school.interrupt_at = None
    summary = school.run()
    assert school.calls == ["zero from 4", *ALL[2:]]
    assert summary["stages"]["zero"]["number"] == 6
    with Run(school.folder) as run:
        steps = [line["step"] for line in run.metrics() if line["stage"] == "zero"]
    assert steps == [1, 2, 3, 4, 5, 6]
    events = EventAccumulator(str(school.folder / "tensorboard" / "zero"))
    events.Reload()
    assert [(point.step, point.value) for point in events.Scalars("number")] == [(n, n) for n in range(1, 7)]


def test_a_changed_recipe_is_refused_with_what_changed(school: School) -> None:
    school.run()
    changed = school.recipe("next.learning_rate=2", "evaluate.held-out.num_samples=4")
    with pytest.raises(UserError, match="made from another recipe; give --force") as caught:
        school.run(changed)
    assert str(caught.value).splitlines()[1:] == [
        "  evaluate.held-out.num_samples: 16 -> 4",
        "  next.learning_rate: 1.0 -> 2.0",
    ]
    assert school.calls == []
    assert school.run()  # the refusal changed nothing


@pytest.mark.parametrize(
    ("overrides", "seed", "redone"),
    [
        (["next.learning_rate=2"], None, ["next from 0", "next.eval"]),
        (["zero.learning_rate=2"], None, ["zero from 0", "zero.eval", "next from 0", "next.eval"]),
        (["evaluate.held-out.num_samples=4"], None, ["base.eval", "zero.eval", "next.eval"]),
        (["output_dir=elsewhere"], None, []),
        ([], 1, ALL),
    ],
)
def test_force_does_again_what_the_change_touches(
    school: School, overrides: list[str], seed: int | None, redone: list[str]
) -> None:
    school.run()
    recipe = school.recipe(*overrides, seed=seed)
    summary = school.run(recipe, force=True)
    assert school.calls == redone
    assert summary["stages"]["next"]["eval"]["held-out"]["n"] == recipe.evaluate["held-out"].num_samples
    school.run(recipe)
    assert school.calls == []


def refused(school: School, recipe: Recipe | None = None) -> list[str]:
    """What a run that is refused says of what has changed; nothing in the folder is touched."""
    before = contents(school.folder)
    with pytest.raises(UserError) as caught:
        school.run(recipe)
    assert school.calls == []
    assert contents(school.folder) == before
    first, *found, advice = str(caught.value).splitlines()
    assert first == f"{school.folder} holds work that this run can't resume from; none of it was touched:"
    assert "give --force" in advice
    assert advice.endswith(str(school.folder / "set-aside"))
    return [line.strip() for line in found]


def contents(folder: Path) -> dict[str, bytes]:
    paths = [path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".")]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def test_what_a_stage_was_made_from_is_looked_at_and_a_change_is_refused_by_name(school: School) -> None:
    school.run()
    school.problems.write_text('{"prompt": "1+2", "answer": "3"}\n')
    assert refused(school) == [f"zero: file {school.problems}: other content"]
    school.run(force=True)
    assert school.calls == ["zero from 0"]  # whose result is the same as before, so nothing follows
    (school.folder / "checkpoints" / "next" / "model" / "number").write_text("tampered")
    assert refused(school) == ["next: checkpoints/next/model/number: other checksum"]
    school.run(force=True)
    assert school.calls == ["next from 0"]
    (school.base / "number").write_text("1")
    assert refused(school) == ["base.eval: model base: other content", "zero: model base: other content"]
    assert school.run(force=True)["stages"]["next"]["number"] == 9
    assert school.calls == ALL


def test_what_is_done_again_is_set_aside_as_it_was_and_the_place_is_said(
    school: School, capsys: pytest.CaptureFixture[str]
) -> None:
    school.run()
    before = contents(school.folder)
    school.run(school.recipe("zero.learning_rate=2"), force=True)
    place = school.folder / "set-aside"
    assert sorted(path.name for path in place.iterdir()) == ["next-1", "next.eval-1", "zero-1", "zero.eval-1"]
    kept = contents(place / "zero-1")
    assert kept["checkpoints/zero/model/number"] == before["checkpoints/zero/model/number"] == b"6.0"
    lines = [line for line in before["metrics.jsonl"].splitlines(keepends=True) if b'"zero"' in line]
    assert kept["metrics.jsonl"].splitlines(keepends=True) == lines
    assert json.loads(kept["checkpoints/zero/record.json"])["stage"]["summary"] == {"number": 6.0}
    said = capsys.readouterr().out
    assert f"zero: learning_rate: 1.0 -> 2.0; what was there is now in {place / 'zero-1'}" in said
    school.run(school.recipe(), force=True)
    assert (place / "zero-2" / "checkpoints" / "zero" / "model" / "number").read_text() == "12.0"


def test_an_unfinished_stage_with_a_checkpoint_is_kept_as_a_finished_one_is(school: School) -> None:
    school.interrupt_at = 5
    with pytest.raises(Stopped):
        school.run()
    school.interrupt_at = None
    school.problems.write_text('{"prompt": "1+2", "answer": "3"}\n')
    assert refused(school) == [f"zero: file {school.problems}: other content"]
    school.run(force=True)
    assert school.calls == ["zero from 0", *ALL[2:]]
    aside = school.folder / "set-aside" / "zero-1"
    assert (aside / "checkpoints" / "zero" / "step-000004" / "number").read_text() == "4.0"
    assert [json.loads(line)["step"] for line in (aside / "metrics.jsonl").read_text().splitlines()] == [1, 2, 3, 4, 5]


def test_a_comment_in_a_reward_changes_nothing_and_its_code_does(school: School) -> None:
    path = school.problems.with_name("mine.py")
    path.write_text("import math\ndef right(completions): return [math.pi for c in completions]\n")
    school.recipe_path.write_text(school.recipe_path.read_text().replace("accuracy: 1", f"'{path}:right': 1"))
    school.run()
    path.write_text(
        '"""What is right."""\nimport math\n\n\ndef right(completions):\n'
        '    """Everything."""\n    return [math.pi for c in completions]  # pi\n'
    )
    school.run()
    assert school.calls == []
    path.write_text("import math\ndef right(completions): return [math.e for c in completions]\n")
    assert refused(school) == ["zero: file mine.py: other content"]


def test_a_field_that_says_its_default_says_nothing(school: School) -> None:
    school.run()
    school.run(school.recipe("zero.temperature=1.0", "zero.problems.split=train", "evaluate.held-out.num_samples=16"))
    assert school.calls == []
    inputs = json.loads((school.folder / "manifest.json").read_text())["stages"]["zero"]["made_from"]
    assert set(inputs) == {
        *("seed", "template", "name", "kind", "from", "problems.source", "rewards.accuracy", "steps", "learning_rate"),
        *("model base", f"file {school.problems}"),
    }


def test_when_checkpoints_are_kept_is_no_part_of_a_result(school: School) -> None:
    school.run()
    school.run(school.recipe("zero.save_steps=3", "zero.log_completions=0"))
    assert school.calls == []


def test_a_text_beside_a_model_changes_nothing(school: School) -> None:
    school.run()
    (school.folder / "checkpoints" / "zero" / "model" / "README.md").write_text("My model")
    (school.base / "README.md").write_text("The base")
    school.run()
    assert school.calls == []


def test_a_lost_file_of_a_finished_stage_is_refused_by_name(school: School) -> None:
    school.run()
    (school.folder / "checkpoints" / "zero" / "model" / "number").unlink()
    assert refused(school) == ["zero: checkpoints/zero/model/number: missing"]


@pytest.mark.parametrize("damage", ["", '{"created": "2026-', "[]", None])
def test_a_lost_or_cut_manifest_is_put_together_again_from_the_stages_records(
    school: School, damage: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    summary = school.run()
    path = school.folder / "manifest.json"
    before = json.loads(path.read_text())
    path.unlink() if damage is None else path.write_text(damage)
    assert school.run() == summary
    assert school.calls == []
    what = "missing" if damage is None else "damaged"
    names = "base.eval, zero, zero.eval, next, next.eval"
    said = capsys.readouterr().out
    assert f"manifest.json is {what}: put together again from the records of the stages ({names})" in said
    after = json.loads(path.read_text())
    assert after["stages"] == before["stages"]
    assert (after["created"], after["sessions"][:1]) == (before["created"], before["sessions"])


def old_manifest(folder: Path) -> None:
    """Makes the folder one of a Thinkery that kept no records and one hash of everything."""
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    for name, record in manifest["stages"].items():
        record["outputs"] = "0" * 64
        del record["made_from"]
        (folder / "checkpoints" / name / "record.json").unlink()
    path.write_text(json.dumps(manifest))


def test_the_work_of_an_older_thinkery_is_not_done_again_unasked(school: School) -> None:
    school.run()
    old_manifest(school.folder)
    with Run(school.folder) as run:
        assert {record["status"] for record in run.manifest["stages"].values()} == {"done"}
    older = "it was made by an older Thinkery, which did not write down by name what it was made from"
    assert refused(school) == [f"{name}: {older}" for name in ("base.eval", "zero", "zero.eval", "next", "next.eval")]
    school.run(force=True)
    assert school.calls == ALL
    assert (school.folder / "set-aside" / "zero-1" / "checkpoints" / "zero" / "model" / "number").exists()


def test_models_without_any_record_are_not_trained_over(school: School) -> None:
    school.run()
    old_manifest(school.folder)
    (school.folder / "manifest.json").write_text("{")
    folder = school.folder / "checkpoints" / "zero"
    assert refused(school) == [f"zero: {folder} holds files, and no record says what they were made from"]
    school.run(force=True)
    assert sorted(path.name for path in (school.folder / "set-aside").iterdir()) == ["next-1", "zero-1"]


def test_a_summary_holds_nothing_that_is_out_of_date(school: School) -> None:
    school.run()
    summary = school.run(school.recipe("zero.learning_rate=2"), force=True, until="zero")
    assert school.calls == ["zero from 0", "zero.eval"]
    assert list(summary["stages"]) == ["zero"]


def test_a_stage_that_left_the_recipe_is_set_aside(school: School) -> None:
    school.run()
    lines = school.recipe_path.read_text().splitlines()
    school.recipe_path.write_text("\n".join(line for line in lines if "name: next" not in line))
    with pytest.raises(UserError, match="made from another recipe; give --force"):
        school.run()
    school.run(force=True)
    assert school.calls == []
    with Run(school.folder) as run:
        assert {line["stage"] for line in run.metrics()} == {"zero"}
        assert set(run.manifest["stages"]) == {"base.eval", "zero", "zero.eval"}
    assert not (school.folder / "checkpoints" / "next").exists()
    assert (school.folder / "set-aside" / "next-1" / "checkpoints" / "next" / "model" / "number").read_text() == "8.0"


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("next.problems.source=gone.jsonl", "next.problems.source = 'gone.jsonl': no such file in "),
        ("evaluate.held-out.problems.source=gone.jsonl", "evaluate.held-out.problems.source = 'gone.jsonl'"),
        ("template=r1", "template = 'r1': allowed: r1-zero, "),
        ("evaluate.held-out.template=r1", "evaluate.held-out.template = 'r1': allowed: r1-zero, "),
        ("base=./gone", "no model at ./gone"),
    ],
)
def test_names_that_lead_nowhere_are_refused_before_anything_runs(school: School, override: str, expected: str) -> None:
    with pytest.raises(UserError) as caught:
        school.run(school.recipe(override))
    assert expected in str(caught.value)
    assert school.calls == []


def test_a_dry_run_says_what_would_happen_and_touches_nothing(school: School) -> None:
    lines = describe_dry_run(school.recipe(), school.folder, "zero")
    assert lines == [
        f"ladder in {school.folder}, seed 0",
        "  zero: rl from base, 6 steps, pending",
        "  evaluate held-out: all problems of mini, 16 samples each",
    ]
    assert not school.folder.exists()
    school.run(until="zero")
    lines = describe_dry_run(school.recipe("next.steps=3"), school.folder)
    assert "  zero: rl from base, 6 steps, done" in lines
    assert "  next: rl from zero, 3 steps, pending" in lines
    assert "  changed: next.steps: 2 -> 3" in lines


@pytest.fixture
def workshop(school: School) -> School:
    """A school whose ladder has every kind of stage that makes or takes data."""
    users = school.folder.with_name("users.jsonl")
    users.write_text('{"prompt": "Hello!", "answer": "Good day!"}\n')
    school.recipe_path.write_text(DATA_LADDER.format(base=school.base, problems=school.problems, users=users))
    return school


def test_stages_that_make_data_keep_it_as_data_and_only_policies_are_evaluated(workshop: School) -> None:
    summary = workshop.run()
    assert workshop.calls == [
        "base.eval", "cold", "dev", "dev.eval", "pairs", "rm", "last from 0", "last.eval",
    ]  # fmt: skip
    kept = workshop.folder / "checkpoints"
    for name in ("cold", "pairs"):
        assert sorted(path.name for path in (kept / name).iterdir()) == ["data", "record.json"]
    assert (kept / "rm" / "model" / "made").read_text() == "dev(cold()) pairs(dev(cold()))"
    assert [list(summary[name].get("eval", {})) for name in ("base",)] == [["all", "ends"]]
    evaluated = {name: list(stage.get("eval", {})) for name, stage in summary["stages"].items()}
    assert evaluated == {"cold": [], "dev": ["all"], "pairs": [], "rm": [], "last": ["all", "ends"]}
    workshop.run()
    assert workshop.calls == []


@pytest.mark.parametrize(
    ("file", "redone", "said"),
    [
        ("problems.jsonl", ["cold"], ["cold: file {}: other content"]),  # whose data are as before, so nothing follows
        ("users.jsonl", ["dev"], ["dev: file {}: other content"]),
        ("run/checkpoints/cold/data/made", ["cold"], ["cold: checkpoints/cold/data/made: other checksum"]),
        ("run/checkpoints/pairs/data/made", ["pairs"], ["pairs: checkpoints/pairs/data/made: other checksum"]),
        ("base/number", ["base.eval", "cold", "dev"], None),
    ],
)
def test_a_stage_is_done_again_when_data_that_it_was_made_from_change_and_only_if_forced(
    workshop: School, file: str, redone: list[str], said: list[str] | None
) -> None:
    workshop.run()
    path = workshop.folder.parent / file
    path.write_text('{"prompt": "1+2", "answer": "3"}\n' if file.endswith("jsonl") else "7")
    expected = said or [f"{name}: model base: other content" for name in redone]
    assert refused(workshop) == [line.format(path) for line in expected]
    workshop.run(force=True)
    assert workshop.calls == redone


@pytest.mark.parametrize(
    ("override", "redone"),
    [
        ("cold.num_generations=5", ["cold"]),
        ("evaluate.ends.num_samples=4", ["base.eval", "last.eval"]),
        ("evaluate.all.num_samples=4", ["base.eval", "dev.eval", "last.eval"]),
        ("evaluate.ends.models=[last]", ["base.eval", "last.eval"]),
        ("last.rewards.helpful.weight=2", ["last from 0"]),
        ("pairs.min_gap=0.5", ["pairs"]),
        ("verification.math.units=ignored", ["base.eval", "cold", "dev.eval", "last from 0", "last.eval"]),
    ],
)
def test_a_change_touches_what_depends_on_it_and_nothing_else(
    workshop: School, override: str, redone: list[str]
) -> None:
    workshop.run()
    workshop.run(workshop.recipe(override), force=True)
    assert workshop.calls == redone


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("cold.problems.also.0.source=gone.jsonl", "cold.problems.also[0].source = 'gone.jsonl': no such file in "),
        ("cold.decontaminate=[gone.jsonl]", "cold.decontaminate[0] = 'gone.jsonl': no such file in "),
        ("cold.template=r1", "cold.template = 'r1': allowed: r1-zero, "),
        ("cold.best_by=bset", "cold.best_by: there is no reward 'bset'"),
        ("dev.data.1=gone.jsonl", "dev.data[1].source = 'gone.jsonl': no such file in "),
        ("dev.template=r1", "dev.template = 'r1': allowed: r1-zero, "),
        ("pairs.problems.source=./gone.jsonl", "pairs.problems.source = './gone.jsonl': no such file in "),
        ("pairs.judge={source: 'http://x/v1', model: m, api_key_env: NO_SUCH_KEY}", "pairs.judge.api_key_env = 'NO_S"),
        ("rm.data=[gone.parquet]", "rm.data[0].source = 'gone.parquet': no such file in "),
        ("last.probe={problems: {source: gone.json}}", "last.probe.problems.source = 'gone.json': no such file in "),
        ("last.from=./gone", "last.from: no model at ./gone"),
        ("last.rewards.helpful.model=./gone", "last.rewards.helpful.model: no model at ./gone"),
        ("pairs.others=[thinkery://gone]", "pairs.others: thinkery://gone is not shipped"),
    ],
)
def test_what_a_later_stage_names_is_looked_at_before_anything_runs(
    workshop: School, override: str, expected: str
) -> None:
    with pytest.raises(UserError) as caught:
        workshop.run(workshop.recipe(override))
    assert expected in str(caught.value)
    assert workshop.calls == []


def test_a_dry_run_names_what_every_stage_is_made_from(workshop: School) -> None:
    lines = describe_dry_run(workshop.recipe(), workshop.folder)
    assert lines[1:] == [
        "  cold: collect from base, pending",
        f"  dev: sft from base, on cold, {workshop.folder.with_name('users.jsonl')}, pending",
        "  pairs: judge from dev, pending",
        "  rm: reward_model from dev, on pairs, pending",
        "  last: rl from dev, 2 steps, pending",
        "  evaluate all: all problems of mini, 16 samples each",
        "  evaluate ends: all problems of mini, 16 samples each, of base, last",
    ]


CODE = json.dumps({"language": "python", "test_cases": [{"input": "1", "output": "1", "type": "stdin_stdout"}]})
PLANS = """
import json, sys
from pathlib import Path
from thinkery.sandbox.inside import seccomp
seccomp.install()  # as in a container: no isolation works
from thinkery.pipeline import describe_dry_run
from thinkery.recipe import load_recipe
from thinkery.types import UserError
for overrides, until in json.loads(sys.argv[3]):
    try:
        told = describe_dry_run(load_recipe(Path(sys.argv[1]), overrides, allow=None), Path(sys.argv[2]), until)
    except UserError as error:
        told = str(error)
    print(json.dumps(told))
"""


def test_a_dry_run_refuses_programs_without_isolation_and_nothing_else(school: School) -> None:
    """Only what is still to be done counts, and only problems that do need a program run."""
    mixed = school.folder.parent / "mixed.jsonl"
    rows = [{"prompt": "1+1", "answer": "2"}, {"prompt": "Print it.", "answer": CODE, "verifier": "code"}]
    mixed.write_text("".join(json.dumps(row) + "\n" for row in rows))
    plain = ["next.problems.domains={math: 1}", "evaluate.held-out.problems.domains={math: 1}"]
    cases: list[tuple[list[str], str | None]] = [
        (plain, None),
        ([*plain, f"zero.problems.source={mixed}"], None),
        ([*plain, f"zero.problems={{source: {mixed}, verifier: math}}"], None),
        ([*plain, "zero.problems={source: some/code, verifier: code}"], None),
        ([*plain, f"evaluate.held-out.problems={{source: {mixed}, n: 1}}"], None),
        ([*plain, f"evaluate.held-out.problems={{source: {mixed}, n: 2}}"], None),
        (plain[1:], None),
        (plain[1:], "zero"),
        ([*plain[1:], "verification.code.unsafe_local=true"], None),
        ([*plain[1:], "verification.code.fusion_url=http://localhost:8080"], None),
    ]
    arguments = [str(school.recipe_path), str(school.folder), json.dumps(cases)]
    done = subprocess.run([sys.executable, "-c", PLANS, *arguments], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    told = [json.loads(line) for line in done.stdout.splitlines()]
    refused = {number: text.splitlines()[0] for number, text in enumerate(told) if isinstance(text, str)}
    why = "A model's programs are not run unprotected, and no isolation works here:"
    assert refused.pop(1) == f"zero.problems: problem mixed-2: {why}"
    assert refused.pop(3) == f"zero.problems: the problems of some/code: {why}"
    assert refused.pop(5) == f"evaluate.held-out.problems: problem mixed-2: {why}"
    assert refused.pop(6).startswith("next.problems: problem mini-train-0-")
    assert refused == {}


def test_a_run_refuses_them_as_its_dry_run_does(school: School, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolation, "_working", {})  # what was found out before the limit below
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))  # too small for any sandbox
    try:
        with pytest.raises(UserError) as planned:
            describe_dry_run(school.recipe(), school.folder)
        with pytest.raises(UserError) as run:
            school.run()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert str(planned.value) == str(run.value)
    assert "next.problems: problem mini-train-0-" in str(run.value)
    assert "the limit on the size of a file that thinkery was started under is 4 KiB" in str(run.value)
    assert school.calls == []
