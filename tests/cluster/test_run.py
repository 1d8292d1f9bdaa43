"""Whole stages on a real Ray through the pipeline: the records say that no problem was lost, doubled or skipped."""

from __future__ import annotations

import io
import json
import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from thinkery.cluster.runtime import ClusterRuntime
from thinkery.models.reward_model import new_reward_model, save_reward_model
from thinkery.models.template import TEMPLATES
from thinkery.pipeline import Stopped, run_recipe
from thinkery.problems.source import open_source
from thinkery.recipe import ClusterSpec, ProblemSpec, Recipe, RewardSpec
from thinkery.recipe.verification import Verification
from thinkery.report.terminal import PlainView
from thinkery.rewards.grader import Grader, GraderSpec
from thinkery.types import Completion, UserError

from .conftest import SPEC

pytestmark = pytest.mark.slow

STEPS, P, G = 4, 3, 4
MINE = Path(__file__).with_name("mine.py")


def recipe_of(model: Path, cluster: dict[str, Any] | None = None, **stage: Any) -> Recipe:
    own = {
        "name": "zero",
        "kind": "rl",
        "from": "base",
        "problems": {"source": "mini", "levels": [1]},
        "rewards": {"accuracy": 1, f"{MINE}:digits": 1},
        "steps": STEPS,
        "num_problems": P,
        "num_generations": G,
        "max_completion_length": 48,
        "learning_rate": 1e-6,  # AdamW takes steps of one size, also where a gradient is nothing but rounding
        "dtype": "float32",
        "save_steps": 2,
        "log_completions_steps": 1,
    } | stage
    spec = None if cluster is None else SPEC.model_dump() | cluster
    return Recipe.model_validate({"name": "r", "base": str(model), "stages": [own], "cluster": spec})


class Watcher(PlainView):
    """Does something when a step has been done: ``when`` maps a step to it, once each."""

    def __init__(self, when: dict[int, Callable[[], None]] | None = None) -> None:
        self.said = io.StringIO()
        super().__init__(self.said)
        self.when = when or {}

    def step(self, step: int, *rest: Any) -> None:
        super().step(step, *rest)
        self.when.pop(step, lambda: None)()


def problems_by_step(folder: Path) -> dict[int, list[str]]:
    """The problems that each step learnt from, in their order; every one with all of its completions, once."""
    found = {}
    for path in sorted((folder / "completions").glob("zero-*.parquet")):
        rows = pq.read_table(path).to_pylist()
        assert set(Counter((row["problem_id"], row["index"]) for row in rows).values()) == {1}
        assert len(rows) == P * G
        found[int(path.stem[-6:])] = list(dict.fromkeys(row["problem_id"] for row in rows))
    return found


def metrics_of(folder: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, len(lines) + 1))
    return lines


def drawn(steps: int = STEPS) -> dict[int, list[str]]:
    """What a run in one process learns from."""
    source = open_source(ProblemSpec(source="mini", split="train", levels=[1]))
    return {step + 1: [problem.id for problem in source.draw(step * P, P)] for step in range(steps)}


def kill(runtime: ClusterRuntime, kind: str) -> None:
    os.kill(runtime._pools[kind].ready()[-1].pid, signal.SIGKILL)


@pytest.fixture(scope="module")
def ahead(local_ray: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterRuntime]:
    """Workers that sample ahead: the learner in this process, one reward worker and one for reward models."""
    own = {"learners": 0, "rewards": 1, "reward_models": 1, "async_steps": 1, "partial": True, "oversample": 1.7}
    spec = SPEC.model_copy(update=own)
    with ClusterRuntime(spec, "local", tmp_path_factory.mktemp("ahead"), print) as opened:
        yield opened


def test_a_stage_on_a_cluster_does_what_it_does_in_one_process(
    runtime: ClusterRuntime, tiny_model: Path, tmp_path: Path
) -> None:
    recipe = recipe_of(tiny_model)
    found = run_recipe(recipe, tmp_path / "cluster", view=Watcher(), runtime=runtime)
    expected = run_recipe(recipe, tmp_path / "alone", view=Watcher())
    assert problems_by_step(tmp_path / "cluster") == problems_by_step(tmp_path / "alone") == drawn()
    assert found["stages"]["zero"]["reward"] == pytest.approx(expected["stages"]["zero"]["reward"])
    pairs = zip(metrics_of(tmp_path / "cluster"), metrics_of(tmp_path / "alone"), strict=True)
    for one, other in pairs:
        for name in ("loss", "grad_norm", "reward", "completions/mean_length"):
            assert one[name] == pytest.approx(other[name], rel=1e-3, abs=1e-5)
        assert one["cluster/rollout-0/tokens_per_second"] > 0
        assert one["cluster/rollouts"] == 2


@pytest.mark.parametrize("kind", ["rollout", "reward", "learner"])
def test_a_stage_survives_the_death_of_any_worker(
    runtime: ClusterRuntime, tiny_model: Path, tmp_path: Path, kind: str
) -> None:
    view = Watcher({3: lambda: kill(runtime, kind)})
    before = runtime._failures.counts.get(kind, 0)
    run_recipe(recipe_of(tiny_model), tmp_path, view=view, runtime=runtime)
    assert runtime._failures.counts[kind] == before + 1
    assert problems_by_step(tmp_path) == drawn()
    assert metrics_of(tmp_path)[-1][f"cluster/lost/{kind}"] == before + 1


def test_sampling_ahead_neither_loses_nor_doubles_a_problem_also_when_the_run_is_stopped(
    ahead: ClusterRuntime, tiny_model: Path, tmp_path: Path
) -> None:
    def stop() -> None:
        raise KeyboardInterrupt

    recipe = recipe_of(tiny_model, {"async_steps": 1}, steps=6, importance_sampling_correction="truncate")
    with pytest.raises(Stopped):
        run_recipe(recipe, tmp_path, view=Watcher({3: stop}), runtime=ahead)
    state = json.loads((tmp_path / "checkpoints" / "zero" / "step-000002" / "sampler" / "sampler.json").read_text())
    assert state["open"]
    run_recipe(recipe, tmp_path, view=Watcher(), runtime=ahead)
    learnt = [name for names in problems_by_step(tmp_path).values() for name in names]
    assert len(learnt) == len(set(learnt)) == 6 * P
    source = open_source(ProblemSpec(source="mini", split="train", levels=[1]))
    assert set(learnt) <= {problem.id for problem in source.draw(0, 6 * P + 10)}
    metrics = metrics_of(tmp_path)
    assert max(line["rollout/staleness"] for line in metrics) > 0
    assert metrics[0]["rollout/in_flight"] >= P


def test_reward_models_score_on_workers_of_their_own_what_they_score_in_one_process(
    ahead: ClusterRuntime, tmp_path: Path
) -> None:
    template = TEMPLATES["r1-compact"]
    made = new_reward_model(
        "thinkery://mini-base", objective="pointwise", reads="response", template=template, seed=0, device="cpu"
    )
    save_reward_model(made, tmp_path)
    rewards = {
        "accuracy": RewardSpec(),
        "model": RewardSpec(weight=0.5, model=str(tmp_path)),
        "format": RewardSpec(from_step=2),
    }
    common = {
        "max_completion_length": 48,
        "verification": Verification(),
        "reward_errors": "stop",
        "reward_timeout_s": 60.0,
    }
    problems = open_source(ProblemSpec(source="mini", split="train", levels=[1])).fixed(3)
    texts = ["I know.</think>12", "</think>", "Well, well.</think>7", "never"]
    with (
        Grader(GraderSpec(template, rewards, **common)) as alone,
        ahead.grader(GraderSpec(template, rewards, **common)) as found,
    ):
        for step in (0, 2):
            for problem in problems:
                for index, text in enumerate(texts):
                    completion = Completion(problem.id, index, (1,), (1, 2), (0.0, 0.0), text, "stop", 0)
                    alone.submit(problem, completion)
                    found.submit(problem, completion)
            groups = found.collect(problems, len(texts), step=step)
            expected = alone.collect(problems, len(texts), step=step)
            assert [list(group.rewards_G) for group in groups] == [list(group.rewards_G) for group in expected]
            for one, other in zip(groups, expected, strict=True):
                assert one.verdicts_G == other.verdicts_G
                assert one.rewards_G["model"] == pytest.approx(other.rewards_G["model"], abs=1e-2)
                assert one.totals_G == pytest.approx(other.totals_G, abs=1e-2)


def test_sampling_ahead_without_a_correction_is_refused(tiny_model: Path) -> None:
    with pytest.raises(ValueError, match=r"zero.importance_sampling_correction = 'none': cluster.async_steps"):
        recipe_of(tiny_model, {"async_steps": 1})


def test_more_workers_than_the_cluster_has_room_for_are_refused_with_the_numbers(
    local_ray: None, tmp_path: Path
) -> None:
    spec = ClusterSpec(learners=0, rollouts=3, cpus=50, start_timeout_s=0.5)
    with (
        pytest.raises(UserError, match=r"need 200 CPUs and 0 GPUs in all, and 1 nodes have \d+ CPUs"),
        ClusterRuntime(spec, "local", tmp_path, print),
    ):
        pass
