"""A package of somebody's own: installed for real, found by its entry points, used by a recipe in a process."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from pyarrow import parquet

import thinkery
from thinkery import plugins
from thinkery.models.loading import load_policy
from thinkery.models.template import TEMPLATES
from thinkery.recipe.verification import Verification
from thinkery.rewards.interfaces import RewardContext
from thinkery.rewards.registry import make_reward, make_verifier
from thinkery.rollout import NativeRollout
from thinkery.types import Completion, Outcome, Problem, Sampling, UserError

HERE = Path(__file__).resolve().parent
PACKAGE, RECIPE = HERE / "example_package", HERE / "recipe.yaml"
SOURCE = Path(thinkery.__file__).resolve().parents[1]
TEMPLATE = TEMPLATES["r1-compact"]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder into which pip has installed the example package."""
    folder = tmp_path_factory.mktemp("installed")
    copy = shutil.copytree(PACKAGE, folder / "source")  # a build leaves files beside what it builds
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-index"]
    command += ["--no-deps", "--no-build-isolation", "--target", str(folder / "target"), str(copy)]
    subprocess.run(command, check=True)
    return folder / "target"


@pytest.fixture
def registered(installed: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The example package is there for this process as well."""
    monkeypatch.syspath_prepend(str(installed))
    yield from forgetting()


def forgetting() -> Iterator[None]:
    """What is known of installed packages is looked up anew, now and afterwards."""
    plugins.registered.cache_clear(), plugins.load.cache_clear()
    yield
    plugins.registered.cache_clear(), plugins.load.cache_clear()


@pytest.mark.slow
def test_a_recipe_uses_all_that_a_package_brings(installed: Path, tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "thinkery", "run", str(RECIPE), "--output-dir", str(tmp_path / "run")],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(map(str, (SOURCE, installed))), "OMP_NUM_THREADS": "1"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    stages = summary["stages"]
    # the source's demonstrations have taught it the words, and the verifier knows them
    assert stages["taught"]["domains"] == {"parity": 64}
    assert 0 < stages["zero"]["accuracy"] <= 1
    # the reward is paid beside accuracy, with the recipe's weight
    steps = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    zero = [step for step in steps if step["stage"] == "zero"]
    assert len(zero) == 2
    for step in zero:
        expected = step["rewards/accuracy/mean"] + 0.5 * step["rewards/brief/mean"]
        assert step["reward"] == pytest.approx(expected)
    # the judge says of every sample whether it beats the reference, which is right: it can draw or lose
    samples = parquet.read_table(tmp_path / "run" / "evaluations" / "zero.parity.parquet").to_pylist()
    assert len(samples) == 16
    assert {sample["preference"] for sample in samples} <= {0.0, 0.5}
    assert all((sample["preference"] == 0.5) >= sample["correct"] for sample in samples)
    # the new kind of stage writes demonstrations, and the next stage learns from them
    rows = [json.loads(line) for line in (tmp_path / "run/checkpoints/selected/data/data.jsonl").open()]
    assert rows
    assert len(rows) == stages["selected"]["samples"] == stages["again"]["demonstrations"]
    assert all(row["pass_rate"] >= 0.25 and row["answer"] in ("even", "odd") for row in rows)


@pytest.mark.usefixtures("registered")
def test_a_registered_reward_takes_its_options() -> None:
    context = RewardContext(TEMPLATE, 16)
    ids: list[list[int]] = [[1], [1]]
    assert make_reward("brief", context, {"words": 2})(["?"] * 2, ["one two", "one two three"], ids) == [1.0, 0.0]
    with pytest.raises(UserError, match="reward 'brief' has no option 'word'; its options: words"):
        make_reward("brief", context, {"word": 2})


@pytest.mark.usefixtures("registered")
def test_a_registered_verifier_judges() -> None:
    verifier = make_verifier("parity", TEMPLATE, Verification())
    problem = Problem("p", "Is 7 even or odd?", "odd", verifier="parity")
    said = [verifier.begin(f"<think>x</think>{word}", problem) for word in ("ungerade", "even", "seven")]
    assert [getattr(verdict, "outcome", None) for verdict in said] == [
        Outcome.CORRECT,
        Outcome.WRONG,
        Outcome.NO_ANSWER,
    ]


@pytest.mark.usefixtures("registered")
def test_errors_name_what_packages_register() -> None:
    with pytest.raises(UserError, match=r"no reward 'breif'; did you mean brief.* known are accuracy, brief, "):
        make_reward("breif", RewardContext(TEMPLATE, 16), {})
    with pytest.raises(UserError, match=r"there is no verifier 'parrot'; known are .*none, parity"):
        make_verifier("parrot", TEMPLATE, Verification())


def test_without_the_package_its_names_are_unknown() -> None:
    with pytest.raises(UserError, match="there is no reward 'brief'"):
        make_reward("brief", RewardContext(TEMPLATE, 16), {})


@pytest.mark.parametrize(
    ("group", "name"), [("rewards", "accuracy"), ("verifiers", "math"), ("stages", "rl"), ("rollouts", "native")]
)
def test_a_package_can_not_take_a_name_of_the_projects_own(
    group: plugins.Kind, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    metadata = tmp_path / "greedy-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: greedy\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(f"[thinkery.{group}]\n{name} = greedy:thing\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    for _ in forgetting():
        with pytest.raises(UserError, match=f"registers '{name}' in thinkery.{group}.*greedy:thing of greedy"):
            plugins.names_beside(group, [name])


@pytest.mark.slow
class TestUncachedRollout:
    """The example's backend keeps what ``RolloutBase`` promises."""

    @pytest.fixture
    def rollouts(self, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Any, NativeRollout]:
        monkeypatch.syspath_prepend(str(PACKAGE))
        from parity_rollout import UncachedRollout

        torch.manual_seed(0)
        policy = load_policy(tiny_model, template=None, device="cpu", dtype="float32")
        return UncachedRollout(policy, 8), NativeRollout(policy, max_slots=8, workers=1)

    PROBLEMS = tuple(Problem(f"p{i}", f"Is {i} even or odd?", "odd") for i in range(3))
    SAMPLING = Sampling(num_generations=2, max_completion_length=8)

    def test_it_samples_what_the_native_one_samples(self, rollouts: tuple[Any, NativeRollout]) -> None:
        uncached, native = (by_index(one.generate(*self.asked(), seed=1, step=2, stage="s")) for one in rollouts)
        assert len(native) == 6
        assert {key: one.token_ids for key, one in uncached.items()} == {k: one.token_ids for k, one in native.items()}
        for key, one in uncached.items():
            assert one.text == native[key].text
            assert one.logprobs == pytest.approx(native[key].logprobs, abs=1e-4)

    def test_a_call_that_was_interrupted_is_resumed_where_it_stopped(self, rollouts: tuple[Any, NativeRollout]) -> None:
        uncached, _ = rollouts
        whole = by_index(uncached.generate(*self.asked(), seed=1, step=2, stage="s"))
        flow = uncached.generate(*self.asked(), seed=1, step=2, stage="s")
        first = next(flow)
        uncached.interrupt()
        assert list(flow) == []
        assert len(uncached.unfinished) == 5
        rest = uncached.resume(self.PROBLEMS, list(uncached.unfinished), self.SAMPLING, seed=1, stage="s")
        assert by_index([first, *rest]) == whole

    def asked(self) -> tuple[tuple[Problem, ...], Sampling]:
        return self.PROBLEMS, self.SAMPLING


def by_index(completions: Any) -> dict[tuple[str, int], Completion]:
    return {(one.problem_id, one.index): one for one in completions}
