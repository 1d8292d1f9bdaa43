"""Judging: pairs, orders and lengths by rule; and the stage end to end, interrupted and resumed."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thinkery.models.loading import resolve_model
from thinkery.recipe import JudgeStage, Recipe
from thinkery.report.terminal import PlainView
from thinkery.rewards.judges import NoVerdict
from thinkery.run import Run
from thinkery.stages.context import StageContext
from thinkery.stages.judge import judge_labels, judge_pairs, keep_labels, keep_pairs, run_judge
from thinkery.stages.pairs import (
    LENGTH_TOLERANCE,
    Verdicts,
    balance_lengths,
    choose_pairs,
    draw_orders,
    with_mismatched,
)
from thinkery.types import Problem, UserError

pytestmark = pytest.mark.slow

SPREAD = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), max_size=40)


def stage_of(**fields: object) -> JudgeStage:
    base = {"name": "pairs", "kind": "judge", "task": "preference", "from": "base", "judge": "mini"}
    problems = {"source": "mini", "domains": {"general": 1}, "n": 6}
    return JudgeStage.model_validate(base | {"problems": problems} | fields)


def problem_of(name: str) -> Problem:
    return Problem(id=name, prompt=f"Question {name}?", reference="", domain="general", verifier="none")


def responses_of(*answers: str) -> list[dict[str, Any]]:
    return [{"model": "base", "index": i, "thinking": "t", "answer": answer} for i, answer in enumerate(answers)]


class Reader:
    """Likes answers by their number, and what it reads first by ``bias``; its verdicts can fail to come."""

    def __init__(self, bias: float = 0.0, fails: Callable[[int], bool] = lambda seed: False) -> None:
        self.bias, self.fails = bias, fails
        self.seeds: list[int] = []
        self.concurrency = 1

    def compare(self, problem: Problem, first: str, second: str, *, seed: int) -> int:
        self.seeds.append(seed)
        if self.fails(seed):
            raise NoVerdict("no verdict")
        return max(-2, min(2, round(float(second.split()[0]) - float(first.split()[0]) - self.bias)))

    def unsafe(self, problem: Problem, response: str, *, seed: int) -> bool:
        self.seeds.append(seed)
        return "harm" in response

    def matches(self, problem: Problem, response: str, *, seed: int) -> bool:
        return False


# --- pairs, orders, lengths -------------------------------------------------------------------------------------------


def test_all_pairs_of_a_few_different_texts_and_as_many_as_texts_of_many() -> None:
    assert choose_pairs(["a", "b", "a", "c"], Random(0)) == [(0, 1), (0, 3), (1, 3)]
    assert choose_pairs(["a", "a"], Random(0)) == []
    many = choose_pairs([str(i) for i in range(8)], Random(0))
    assert len(set(many)) == 8
    assert all(i < j for i, j in many)


@pytest.mark.parametrize("count", [1, 2, 4, 5])
def test_half_of_the_verdicts_see_the_pair_the_other_way_round(count: int) -> None:
    drawn = [tuple(draw_orders(count, Random(seed))) for seed in range(200)]
    assert {sum(orders) for orders in drawn} == {count // 2, -(-count // 2)}
    assert all(0.35 < statistics.fmean(orders[i] for orders in drawn) < 0.65 for i in range(count))


def test_the_order_takes_a_judges_bias_for_what_it_reads_first_out_of_the_mean() -> None:
    problems = [problem_of(str(i)) for i in range(100)]
    equal = {problem.id: responses_of("1 a", "1 b") for problem in problems}
    rows = judge_pairs(stage_of(), Reader(bias=1.6), problems, equal, seed=0)
    assert [sum(row["verdicts"]) for row in rows] == [0] * 100
    assert all(Verdicts(tuple(row["verdicts"]), tuple(row["swapped"])).agree is False for row in rows)
    shown = [pair for row in rows for pair in zip(row["verdicts"], row["swapped"], strict=True)]
    assert {verdict for verdict, swapped in shown if not swapped} == {-2}  # what one order alone says of every pair


def test_a_bias_leaves_the_better_response_preferred() -> None:
    problems = [problem_of(str(i)) for i in range(50)]
    better = {problem.id: responses_of("1 a", "3 b") for problem in problems}
    rows = judge_pairs(stage_of(), Reader(bias=1.0), problems, better, seed=0)
    kept, dropped = keep_pairs(rows, 1.0, None)
    assert not dropped
    assert {pair["chosen"]["answer"] for pair in kept} == {"3 b"}
    assert {pair["gap"] for pair in kept} == {1.5}  # 2 and 1, for a verdict ends at 2


@given(SPREAD, st.integers(0, 5))
def test_after_balancing_chosen_is_longer_as_often_as_shorter(lengths: list[tuple[int, int]], seed: int) -> None:
    chosen, rejected = [c for c, _ in lengths], [r for _, r in lengths]
    balance = balance_lengths(chosen, rejected, Random(seed))
    assert sorted(balance.kept + balance.dropped) == list(range(len(lengths)))
    longer, shorter = (sum(1 for i in balance.kept if sign * (chosen[i] - rejected[i]) > 0) for sign in (1, -1))
    assert longer == shorter
    assert all(i in balance.kept for i in range(len(lengths)) if chosen[i] == rejected[i])
    assert balance == balance_lengths(chosen, rejected, Random(seed))


def test_balancing_makes_mean_lengths_comparable_and_gives_little_up_for_it() -> None:
    rng = Random(0)
    rejected = [rng.randint(20, 60) for _ in range(1000)]
    chosen = [length + rng.randint(-20, 50) for length in rejected]
    balance = balance_lengths(chosen, rejected, rng)
    means = [statistics.fmean(side[i] for i in balance.kept) for side in (chosen, rejected)]
    before = [statistics.fmean(side) for side in (chosen, rejected)]
    assert before[0] / before[1] > 1.3
    assert abs(means[0] / means[1] - 1) <= LENGTH_TOLERANCE
    shorter = sum(c < r for c, r in zip(chosen, rejected, strict=True))
    assert len(balance.kept) > 1.2 * shorter  # of at most 2 * shorter


# --- what is kept -----------------------------------------------------------------------------------------------------


def test_strays_are_responses_to_other_problems_and_the_same_ones_again() -> None:
    own = {name: responses_of(f"{name} one", f"{name} two") for name in "abc"}
    joined = with_mismatched(own, 2, 3, "pairs")
    assert joined == with_mismatched(own, 2, 3, "pairs")
    for name, responses in joined.items():
        assert responses[:2] == own[name]
        assert {response["answer"][0] for response in responses[2:]} == set("abc") - {name}
    assert with_mismatched({"a": own["a"]}, 2, 3, "pairs") == {"a": own["a"]}


def test_close_pairs_duplicates_and_pairs_without_verdict_are_dropped_with_the_reason() -> None:
    problems = [problem_of(name) for name in "abcde"]
    responses = {
        "e": responses_of("1 x", "4 \0"),
        "a": responses_of("1 x", "4 y"),
        "b": responses_of("1 x", "2 y"),
        "c": responses_of("1 x", "4 y"),
        "d": responses_of("1 x", "4 z"),
    }
    rows = judge_pairs(stage_of(), Reader(), problems, responses, seed=0)
    rows[2]["prompt"] = rows[0]["prompt"]
    rows[3] |= {"verdicts": [], "swapped": []}
    kept, dropped = keep_pairs(rows, 1.0, None)
    assert [pair["problem_id"] for pair in kept] == ["a"]
    assert [(pair["problem_id"], pair["reason"]) for pair in dropped] == [
        ("b", "gap"),
        ("c", "duplicate"),
        ("d", "no_verdict"),
        ("e", "unreadable"),
    ]
    assert kept[0]["chosen"]["answer"] == "4 y"
    assert kept[0]["verdicts"] == [2, 2, 2, 2]
    assert len({pair["id"] for pair in kept + dropped}) == 5


def test_labels_go_by_the_majority_and_equal_responses_are_asked_about_once() -> None:
    judge, problems = Reader(), [problem_of("a")]
    responses = {"a": responses_of("harm", "no", "harm")}
    rows = judge_labels(stage_of(task="safety"), judge, problems, responses, seed=0)
    assert len(judge.seeds) == len(set(judge.seeds)) == 8
    rows[1]["verdicts"] = [True, False, False, False]
    kept, _ = keep_labels(rows)
    assert [(row["answer"], row["safe"], row["unsafe_share"]) for row in kept] == [
        ("harm", False, 1.0),
        ("no", True, 0.25),
    ]
    rows[1]["verdicts"] = [True, False]
    assert keep_labels(rows)[1][0]["reason"] == "undecided"


def test_the_judge_of_safety_sees_the_thinking() -> None:
    responses = {"a": [{"model": "base", "index": 0, "thinking": "harm", "answer": "no"}]}
    rows = judge_labels(stage_of(task="safety"), Reader(), [problem_of("a")], responses, seed=0)
    assert rows[0]["verdicts"] == [True] * 4


def test_a_few_missing_verdicts_are_left_out_and_many_stop_the_stage() -> None:
    problems = [problem_of(str(i)) for i in range(40)]
    responses = {problem.id: responses_of("1 a", "4 b") for problem in problems}
    rows = judge_pairs(stage_of(), Reader(fails=lambda seed: seed % 20 == 0), problems, responses, seed=0)
    assert 0 < sum(4 - len(row["verdicts"]) for row in rows) < 16
    assert all(verdict == 2 for row in rows for verdict in row["verdicts"])
    with pytest.raises(UserError, match="no verdict to 160 of 160 questions"):
        judge_pairs(stage_of(), Reader(fails=lambda seed: True), problems, responses, seed=0)


# --- the stage --------------------------------------------------------------------------------------------------------


class Interrupted(PlainView):
    """Presses Ctrl-C after so many batches."""

    def __init__(self, after: int) -> None:
        super().__init__()
        self.left = after

    def batch_done(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt


def run(folder: Path, stage: JudgeStage, seed: int = 0, after: int | None = None) -> dict[str, Any]:
    recipe = Recipe.model_validate({"name": "r", "seed": seed, "base": "thinkery://mini-base", "stages": [stage]})
    with Run(folder) as run:
        run.begin(recipe.name, recipe.seed, recipe.to_yaml())
        stage_run = run.stage(stage.name, "data")
        stage_run.start({"made": "so"})
        view = PlainView()
        if after is not None:
            view = Interrupted(after)
            log = stage_run.log
            stage_run.log = lambda step, metrics: (log(step, metrics), view.batch_done())[0]
        context = StageContext(recipe, stage_run, view, lambda reference: resolve_model("thinkery://mini-base"))
        return run_judge(stage, context)


def rows_of(folder: Path, name: str = "data", stage: str = "pairs") -> list[dict[str, Any]]:
    path = folder / "checkpoints" / stage / "data" / f"{name}.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()]


def taste(text: str) -> int:
    return sum(map(ord, text.strip())) % 101


def by_rule(body: dict[str, Any]) -> str:
    """A judge with a taste of its own, which has nothing to do with length."""
    question = body["messages"][-1]["content"]
    if "Response A" not in question:
        return json.dumps({"analysis": "", "unsafe": len(question) % 2 == 0})
    a, b = (
        taste(question.split(f"[Response {name}")[1].split("[End of response")[0].split("\n", 1)[1]) for name in "AB"
    )
    return json.dumps({"analysis": "", "verdict": "A>>B" if a > b else "B>>A" if b > a else "A=B"})


@pytest.fixture(scope="module")
def judged(
    tmp_path_factory: pytest.TempPathFactory, chat_server: Callable[..., Any]
) -> tuple[Path, JudgeStage, dict[str, Any]]:
    """A whole stage with two models and an endpoint as its judge."""
    server = chat_server(by_rule)
    judge = {"source": server.address, "model": "m", "concurrency": 4, "timeout_s": 60}
    stage = stage_of(judge=judge, others=["base"], batch_problems=4, max_completion_length=24, num_generations=2)
    folder = tmp_path_factory.mktemp("runs") / "whole"
    return folder, stage, run(folder, stage)


def test_the_stage_writes_pairs_their_reasons_and_a_table(judged: tuple[Path, JudgeStage, dict[str, Any]]) -> None:
    folder, _, summary = judged
    pairs, dropped = rows_of(folder), rows_of(folder, "dropped")
    assert summary["judged"] == len(pairs) + len(dropped)
    assert summary["pairs"] == len(pairs) > 0
    assert summary["chosen_longer"] == 0.5
    assert summary["order_agreement"] == 1.0
    assert summary["first_preferred"] == 0.5
    for pair in pairs:
        assert {"id", "prompt", "chosen", "rejected", "gap", "verdicts", "domain", "language"} <= pair.keys()
        assert taste(pair["chosen"]["answer"]) > taste(pair["rejected"]["answer"])
        assert len(pair["verdicts"]) == 4
    assert {row["reason"] for row in dropped} <= {"gap", "duplicate", "length"}
    table = json.loads((folder / "checkpoints" / "pairs" / "data" / "table.json").read_text())
    assert table[-1]["domain"] == "all"
    assert table[-1]["samples"] == len(pairs)


@pytest.mark.parametrize("after", [0, 3, 5])
def test_interrupted_and_started_again_the_data_are_the_same(
    after: int, judged: tuple[Path, JudgeStage, dict[str, Any]], tmp_path: Path
) -> None:
    folder, stage, summary = judged
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "again", stage, after=after)
    assert run(tmp_path / "again", stage) == summary
    for name in ("data", "dropped"):
        assert rows_of(tmp_path / "again", name) == rows_of(folder, name)


def test_the_miniature_worlds_labeller_labels_responses_to_its_harmful_requests(tmp_path: Path) -> None:
    stage = stage_of(name="labels", task="safety", max_completion_length=24)
    summary = run(tmp_path / "run", stage)
    rows = rows_of(tmp_path / "run", stage="labels")
    assert summary["labels"] == len(rows) > 0
    assert {row["problem_id"] for row in rows} <= {f"mini-general-train-0-{i}" for i in range(400)}
    assert all(isinstance(row["safe"], bool) and "thinking" in row for row in rows)


def test_problems_of_the_other_set_are_left_out_and_none_at_all_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    rows = [{"prompt": f"Q{i}", "answer": "a", "preference": "safety"} for i in range(3)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    problems = {"source": str(path), "verifier": "none"}
    with pytest.raises(UserError, match=r"pairs\.problems: none belongs to the helpful set"):
        run(tmp_path / "run", stage_of(problems=problems))


def test_where_nothing_is_left_to_learn_from_the_stage_says_what_to_change(
    tmp_path: Path, chat_server: Callable[..., Any]
) -> None:
    server = chat_server(lambda body: json.dumps({"analysis": "", "verdict": "A=B"}))
    judge = {"source": server.address, "model": "m"}
    with pytest.raises(UserError, match=r"none of \d+ judged .* is left \(gap \d+\)"):
        run(tmp_path / "equal", stage_of(judge=judge, max_completion_length=16))
    with pytest.raises(UserError, match=r"none of 0 judged"):  # no two responses that differ
        run(tmp_path / "same", stage_of(judge=judge, max_completion_length=1, temperature=1e-3))
