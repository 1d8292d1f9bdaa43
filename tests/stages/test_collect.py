"""Collecting demonstrations end to end: from the shipped base, through the pipeline, judged, killed and resumed."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pytest

from thinkery.models.loading import load_policy
from thinkery.models.template import TEMPLATES
from thinkery.pipeline import run_recipe
from thinkery.problems.demonstrations import open_demonstrations
from thinkery.problems.source import open_source
from thinkery.recipe import DataSpec, ProblemSpec, Recipe
from thinkery.report.terminal import PlainView
from thinkery.types import UserError

pytestmark = pytest.mark.slow

TEMPLATE = TEMPLATES["r1-zero-compact"]
PROBLEMS = {"source": "mini", "n": 30, "levels": [1, 2], "domains": {"math": 1}}


def recipe_of(**settings: object) -> Recipe:
    """A cold start from the shipped base, small enough for a test."""
    stage = {
        "name": "cold",
        "kind": "collect",
        "from": "base",
        "problems": PROBLEMS,
        "num_generations": 6,
        "max_completion_length": 64,
        "batch_problems": 10,
        "max_per_problem": 2,
        "refine": {"by": "rules", "translate": True},
    }
    base = {"name": "short", "base": "thinkery://mini-base", "template": TEMPLATE.name}
    return Recipe.model_validate(base | {"stages": [stage | settings]})


def collect(folder: Path, **settings: object) -> dict[str, Any]:
    """Runs the stage; its summary."""
    summary = run_recipe(recipe_of(**settings), folder, view=PlainView())
    return dict(summary["stages"]["cold"])


def rows_of(folder: Path, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "checkpoints/cold/data" / name).read_text().splitlines()]


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / "checkpoints/cold/data").iterdir()}


@pytest.fixture(scope="module")
def collected(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "collected"
    collect(folder)
    return folder


def test_every_sample_is_kept_or_dropped_once_and_says_why(collected: Path) -> None:
    data, dropped = rows_of(collected, "data.jsonl"), rows_of(collected, "dropped.jsonl")
    problems = open_source(ProblemSpec.model_validate(PROBLEMS)).fixed(30)
    found = sorted((row["problem_id"], row["index"]) for row in data + dropped)
    assert found == sorted((problem.id, index) for problem in problems for index in range(6))
    assert {row["reason"] for row in data} == {"correct"}
    assert {"wrong", "malformed", "surplus"} <= {row["reason"] for row in dropped}
    assert all(row["text"] for row in dropped)


def test_what_is_kept_is_right_short_of_nothing_and_states_its_answer(collected: Path) -> None:
    references = {p.id: p.reference for p in open_source(ProblemSpec.model_validate(PROBLEMS)).fixed(30)}
    data = rows_of(collected, "data.jsonl")
    assert len(data) >= 10
    for row in data:
        reference = references[row["problem_id"]]
        assert row["answer"] == {"en": f"The answer is {reference}.", "zh": f"答案是{reference}。"}[row["language"]]
        assert row["thinking"].endswith({"en": ".", "zh": "。"}[row["language"]])
        assert bool(re.search("[\u4e00-\u9fff]", row["thinking"])) <= (row["language"] == "zh")
    assert max(Counter(row["problem_id"] for row in data).values()) == 2


def test_what_is_dropped_as_wrong_gives_another_answer_than_the_reference(collected: Path) -> None:
    references = {p.id: p.reference for p in open_source(ProblemSpec.model_validate(PROBLEMS)).fixed(30)}
    for row in rows_of(collected, "dropped.jsonl"):
        parsed = TEMPLATE.parse(row["text"])
        if row["reason"] == "wrong":
            assert parsed.answer != references[row["problem_id"]]
        if row["reason"] == "malformed":
            assert not parsed.well_formed


def test_the_table_counts_what_the_files_hold(collected: Path) -> None:
    data, dropped = rows_of(collected, "data.jsonl"), rows_of(collected, "dropped.jsonl")
    math, whole = json.loads((collected / "checkpoints/cold/data/table.json").read_text())
    assert math | {"domain": "all"} == whole
    assert whole["samples"] == len(data)
    assert whole["sampled"] == len(data) + len(dropped) == 180
    assert whole["problems"] == 30
    assert whole["kept_share"] == pytest.approx(len(data) / 180, abs=1e-4)
    assert whole["reasons"] == Counter(row["reason"] for row in data + dropped)
    tokenizer = load_policy("thinkery://mini-base", template=None).tokenizer
    lengths = [len(tokenizer(TEMPLATE.write(row["thinking"], row["answer"]))["input_ids"]) for row in data]
    assert [row["tokens"] for row in data] == lengths
    assert whole["mean_tokens"] == pytest.approx(sum(lengths) / len(lengths), abs=0.06)


def test_the_summary_is_the_table_as_flat_figures(collected: Path) -> None:
    summary = json.loads((collected / "summary.json").read_text())["stages"]["cold"]
    (whole,) = (row for row in json.loads((collected / "checkpoints/cold/data/table.json").read_text())[1:])
    assert {name: summary[name] for name in ("samples", "kept_share", "mean_tokens")} == {
        name: whole[name] for name in ("samples", "kept_share", "mean_tokens")
    }
    assert summary["math/samples"] == whole["samples"]
    assert summary["dropped/wrong"] == whole["reasons"]["wrong"]


def test_later_stages_can_read_what_was_collected(collected: Path) -> None:
    read = open_demonstrations(DataSpec(source="cold"), lambda name: str(collected / "checkpoints" / name / "data"))
    rows = rows_of(collected, "data.jsonl")
    fields = ("id", "prompt", "thinking", "answer", "domain", "language", "level")
    assert [[getattr(one, field) for field in fields] for one in read] == [[row[f] for f in fields] for row in rows]


KILLED_AT = """
import os, signal, sys
from pathlib import Path
from thinkery.pipeline import run_recipe
from thinkery.recipe import load_recipe
from thinkery.report.terminal import PlainView

class Deadly(PlainView):
    def step(self, step, metrics):
        if step == int(sys.argv[3]):
            os.kill(os.getpid(), signal.SIGKILL)

run_recipe(load_recipe(Path(sys.argv[1])), Path(sys.argv[2]), view=Deadly())
"""


def test_a_killed_stage_goes_on_after_its_last_batch_and_ends_with_equal_files(collected: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(recipe_of().to_yaml())
    killed = subprocess.run([sys.executable, "-c", KILLED_AT, recipe, tmp_path / "run", "2"], timeout=300)
    assert killed.returncode == -signal.SIGKILL
    assert [path.name for path in (tmp_path / "run/checkpoints/cold").glob("step-*")] == ["step-000001"]
    collect(tmp_path / "run")
    assert files_of(tmp_path / "run") == files_of(collected)
    steps = [json.loads(line)["step"] for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    assert steps == [1, 2, 3]


def test_a_lost_or_cut_part_is_missed_and_the_collection_ends_whole(collected: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(recipe_of().to_yaml())
    killed = subprocess.run([sys.executable, "-c", KILLED_AT, recipe, tmp_path / "run", "3"], timeout=300)
    assert killed.returncode == -signal.SIGKILL
    last = tmp_path / "run/checkpoints/cold/step-000002"
    shutil.copytree(tmp_path / "run", tmp_path / "cut")
    (last / "part-000000.jsonl").unlink()  # the one before links to it as well
    collect(tmp_path / "run")
    assert files_of(tmp_path / "run") == files_of(collected)
    for number in (1, 2):
        path = tmp_path / f"cut/checkpoints/cold/step-{number:06d}/part-000000.jsonl"
        path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(UserError, match=r"cold: no checkpoint is whole\n.*step-000002: part-000000.jsonl: other check"):
        collect(tmp_path / "cut")


def test_a_problems_best_samples_by_the_named_reward_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(
        "def brief(prompts, completions, **columns):\n    return [-float(len(text)) for text in completions]\n"
    )
    collect(tmp_path / "run", best_by="mine.py:brief", max_per_problem=1, deduplicate=None, refine=None)
    length = {
        (row["problem_id"]): len(TEMPLATE.write(row["thinking"], row["answer"]))
        for row in rows_of(tmp_path / "run", "data.jsonl")
    }
    surplus = defaultdict(list)
    for row in rows_of(tmp_path / "run", "dropped.jsonl"):
        if row["reason"] == "surplus":
            surplus[row["problem_id"]].append(len(row["text"]))
    assert surplus
    assert all(length[problem] <= min(others) for problem, others in surplus.items())


@pytest.fixture
def unchecked(tmp_path: Path) -> Path:
    """Questions whose answers no rule is to check, and one that a rule checks."""
    rows = [
        {"id": f"q{i}", "prompt": f"What is {20 + i}-{i}?", "answer": "20", "verifier": "none"} for i in range(1, 13)
    ]
    rows.append({"id": "checked", "prompt": "What is 1+1?", "answer": "2", "verifier": "math"})
    path = tmp_path / "questions.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_where_no_rule_can_check_the_judge_decides(unchecked: Path, tmp_path: Path, endpoint: Any) -> None:
    def compare(question: str) -> str:
        agrees = len(re.findall(r"\b20\b", question)) > 1  # in the response, and not in the reference alone
        return json.dumps({"analysis": "compared", "correctness": agrees})

    endpoint.reply = compare
    judge = {"source": endpoint.address, "model": "strong"}
    collect(tmp_path / "run", problems={"source": str(unchecked)}, judge=judge, refine={"by": "rules"})
    data, dropped = rows_of(tmp_path / "run", "data.jsonl"), rows_of(tmp_path / "run", "dropped.jsonl")
    judged = [row for row in data if row["problem_id"] != "checked"]
    assert judged
    assert all(row["reason"] == "matched" and "20" in row["answer"] for row in judged)
    mismatched = [row for row in dropped if row["reason"] == "mismatched"]
    assert mismatched
    assert not any("20" in (TEMPLATE.parse(row["text"]).answer or "") for row in mismatched)
    assert not any("1+1" in question for question in endpoint.asked)


def test_a_strong_model_refines_and_what_it_spoils_is_dropped(tmp_path: Path, endpoint: Any) -> None:
    spoilt = {
        "changed": ("<reasoning>I say {a}. It is fine.</reasoning>\n<summary>The answer is {b}.</summary>"),
        "new_step": (
            "<reasoning>I say {a}. It is fine.</reasoning>\n<summary>By 99881 I find \\boxed{{{a}}}.</summary>"
        ),
        "unrefined": "I would rather not.",
        "code": "<reasoning>I run\n```\nprint({a})\n```</reasoning>\n<summary>The answer is {a}.</summary>",
        "correct": "<think>Hm.</think><reasoning>I add up and get {a}. I check it.</reasoning>"
        "\n<summary>The answer is {a}.</summary>",
    }
    kinds = list(spoilt)

    def reply(question: str) -> str:
        answer = question.split("Answer of the draft:\n")[1].strip()
        kind = kinds[len(question.split("Draft:\n")[1]) % len(kinds)]
        return spoilt[kind].format(a=answer, b=int(answer) + 1)

    endpoint.reply = reply
    refine = {"by": "endpoint", "endpoint": {"source": endpoint.address, "model": "strong"}}
    problems = {"source": "mini", "n": 30, "levels": [1], "languages": {"en": 1}, "domains": {"math": 1}}
    collect(tmp_path / "run", problems=problems, refine=refine, max_per_problem=6, deduplicate=None)
    data, dropped = rows_of(tmp_path / "run", "data.jsonl"), rows_of(tmp_path / "run", "dropped.jsonl")
    assert {row["reason"] for row in dropped} >= {"changed", "new_step", "unrefined", "code"}
    assert all(re.fullmatch(r"I add up and get -?\d+\. I check it\.", row["thinking"]) for row in data)
    for row in dropped:
        if row["reason"] in ("changed", "new_step", "code"):
            expected = spoilt[row["reason"]].split("<reasoning>")[1][:5]
            assert row["thinking"].startswith(expected)
    assert all("first person" in question for question in endpoint.asked)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"problems": {"source": "mini", "n": 4, "domains": {"general": 1}}}, "cold.judge: "),
        ({"refine": {"by": "rules", "translate": True}, "readable": {"min_language": None}}, "cold.refine.translate: "),
        ({"problems": {"source": "mini"}}, "problems.n: "),
        ({"problems": {"source": "wrong.jsonl"}}, "wrong.jsonl, line 1: the field answer"),
        ({"problems": {"source": "foreign.jsonl"}}, "cold.readable.min_language"),
        ({"problems": {"source": "fine.jsonl"}}, "no installed translator knows the problem"),
        ({"refine": {"by": "few-shot"}, "max_completion_length": 900}, "cold.refine.by: "),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_sampled(
    settings: dict[str, Any], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    row = {"prompt": "What is 1+1?", "answer": "2"}
    Path("fine.jsonl").write_text(json.dumps(row) + "\n")
    Path("foreign.jsonl").write_text(json.dumps(row | {"language": "xx"}) + "\n")
    Path("wrong.jsonl").write_text(json.dumps({"problem": "Which?", "answer": "Z", "choices": ["a", "b"]}) + "\n")
    with pytest.raises(UserError, match=re.escape(message)):
        collect(tmp_path / "run", **settings)
    assert not (tmp_path / "run/metrics.jsonl").exists()
    assert not list((tmp_path / "run").glob("checkpoints/cold/*"))


def test_a_stage_that_keeps_nothing_stops_and_names_the_file_that_says_why(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cold: no sample was kept; .*dropped\.jsonl says why"):
        collect(tmp_path / "run", readable={"min_length": 1000}, problems={**PROBLEMS, "n": 6})
    assert {row["reason"] for row in rows_of(tmp_path / "run", "dropped.jsonl")} >= {"length", "wrong"}
