"""The parts of collecting: what is readable, tidying, the second look, the finished set, few-shot rewriting."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from thinkery.mini.plugin import mini_problem
from thinkery.models.loading import load_policy
from thinkery.models.template import TEMPLATES
from thinkery.problems.overlap import Benchmarks, Item
from thinkery.recipe import CollectStage, ReadableSpec
from thinkery.recipe.verification import Verification
from thinkery.rewards.choice import ChoiceVerifier
from thinkery.rewards.math import MathVerifier
from thinkery.rollout.native.engine import NativeRollout
from thinkery.stages.collecting.few_shot_rewriter import FewShotRewriter
from thinkery.stages.collecting.filters import adds_step, fault
from thinkery.stages.collecting.rewriting import summarize, tidy
from thinkery.stages.collecting.samples import (
    CollectedSample,
    CollectionTable,
    Reason,
    read_parts,
    sift,
    write_part,
    write_set,
)
from thinkery.types import Outcome, Problem, Verdict

pytestmark = pytest.mark.slow

RIGHT = Verdict(Outcome.CORRECT)


def sample_of(thinking: str, answer: str = "12", prompt: str = "What is 5+7?", **settings: Any) -> CollectedSample:
    problem = Problem(settings.pop("id", "p"), prompt, "12")
    text = TEMPLATES["r1-zero-compact"].write(thinking, answer)
    return CollectedSample(problem, 0, text, thinking, answer, RIGHT, **settings)


PROSE = "I want the sum of five and seven, so I count on from seven and arrive at twelve."


@pytest.mark.parametrize(
    ("thinking", "reason"),
    [
        (PROSE, None),
        ("我想求五加七的和，从七往后数五个数，得到十二，这就是答案。", Reason.LANGUAGE),
        (PROSE + "\n" + "so it goes on and on and never ends " * 30, Reason.REPETITION),
        (PROSE + "\n```python\nprint(5+7)\n```", Reason.CODE),
        (" ".join(f"Step {i} adds one to the count and says so." for i in range(60)), Reason.PARAGRAPH),
        ("", Reason.LENGTH),
    ],
)
def test_each_rule_drops_what_it_is_there_for(thinking: str, reason: Reason | None) -> None:
    found = fault(ReadableSpec(), thinking, len(thinking.split()), "en")
    assert (found[0] if found else None) == reason


def test_rules_that_are_switched_off_drop_nothing() -> None:
    off = ReadableSpec(min_language=None, max_repetition=None, min_length=0, max_paragraph=None, code_blocks=True)
    awful = "```\n" + "又来了 and again " * 2000
    assert fault(off, awful, 9000, "en") is None
    assert fault(off, "", 0, "en") is None


def test_thinking_that_will_be_translated_may_be_in_any_language() -> None:
    chinese = "我想求五加七的和，从七往后数五个数，得到十二，这就是答案。"
    assert fault(ReadableSpec(), chinese, 20, "en", any_language=True) is None


@pytest.mark.parametrize(
    ("thinking", "language", "tidied"),
    [
        ("  first   5+7=12 \n\n\n\nthen  done", "en", "First 5+7=12\n\nthen done."),
        ("5+7=12. Check it. Check it. Good", "en", "5+7=12. Check it. Good."),
        ("so <answer>12</answer>", "en", "So 12."),
        ("x=3.5, so 2*x=7", "en", "x=3.5, so 2*x=7."),
        ("x is 4, so x*x=16!", "en", "x is 4, so x*x=16!"),
        ("先算5+7=12。先算5+7=12。没错", "zh", "先算5+7=12。没错。"),
        ("78-54=24。", "en", "78-54=24."),
        ("def f(x):\n    return x", "en", "def f(x):\n    return x."),
        ("", "en", ""),
    ],
)
def test_tidying_puts_thinking_in_order_and_adds_nothing(thinking: str, language: str, tidied: str) -> None:
    assert tidy(thinking, language) == tidied
    assert tidy(tidied, language) == tidied


@pytest.mark.parametrize(
    ("verifier", "language", "answer", "summary"),
    [
        ("math", "en", "12", "The answer is 12."),
        ("math", "zh", "12", "答案是12。"),
        ("math", "en", r"\frac{1}{2}", r"The answer is $\frac{1}{2}$."),
        ("math", "en", "The answer is 12.", "The answer is 12."),
        ("math", "fr", "12", "12"),
        ("choice", "en", "B", "The answer is B."),
        ("code", "en", "def f(x):\n    return x", "```python\ndef f(x):\n    return x\n```"),
        ("code", "en", "```python\nx\n```", "```python\nx\n```"),
        ("instruction", "en", "B", "B"),
        ("none", "en", "Hello! How can I help you?", "Hello! How can I help you?"),
    ],
)
def test_a_summary_states_the_answer_as_its_verifier_reads_it(
    verifier: str, language: str, answer: str, summary: str
) -> None:
    assert summarize(Problem("p", "q", "12", verifier=verifier, language=language), answer) == summary


@pytest.mark.parametrize("name", ["r1-zero-compact", "r1-compact"])
def test_the_math_verifier_accepts_the_summary_of_what_it_accepts(name: str) -> None:
    template = TEMPLATES[name]
    verifier = MathVerifier(template, Verification())
    try:
        for language in ("en", "zh"):
            for answer in ("12", r"\frac{1}{2}", "-7", "x+1", "(1, 2)"):
                problem = Problem("p", "q", answer, language=language)
                for text in (answer, summarize(problem, answer)):
                    verdict = verifier.begin(template.write("I know it.", text), problem)
                    assert (verdict if isinstance(verdict, Verdict) else verdict.result(60)).correct, text
    finally:
        verifier.close()


@pytest.mark.parametrize("name", ["r1-zero-compact", "r1-compact"])
def test_the_choice_verifier_accepts_an_option_alone_and_with_its_letter(name: str) -> None:
    problems = [mini_problem(i, "train", domains={"stem": 1, "logic": 1}) for i in range(60)]
    verifier = ChoiceVerifier(TEMPLATES[name], Verification())
    for problem in problems:
        letter = "ABCD"[problem.columns["choices"].index(problem.reference)]
        for answer in (letter, problem.reference):
            summary = summarize(problem, answer)
            assert summary.rstrip(".。").endswith(problem.reference)
            assert verifier.begin(TEMPLATES[name].write("I know it.", summary), problem).correct


@pytest.mark.parametrize(
    ("answer", "adds"),
    [
        ("The answer is 12.", False),
        ("5+7 is 12.", False),
        ("1. Add 5 and 7.\n2. That gives 12.", False),
        ("Since 6+6 is 12, the answer is 12.", True),
        ("```python\nprint(99)\n```", False),
    ],
)
def test_a_summary_may_not_have_numbers_that_nobody_thought_of(answer: str, adds: bool) -> None:
    assert adds_step(sample_of("I add 5+7=12.").rewrite("I add 5+7=12.", answer)) == adds


def parts_of(folder: Path, samples: list[CollectedSample]) -> Path:
    """Two batches as two checkpoints, the second of which holds both."""
    first, second = folder / "step-000001", folder / "step-000002"
    for place in (first, second):
        place.mkdir()
    write_part(first, before=None, batch=0, samples=samples[:2])
    write_part(second, before=first, batch=1, samples=samples[2:])
    return second


def test_near_duplicates_and_what_benchmarks_hold_leave_the_whole_set(tmp_path: Path) -> None:
    shared = "A farmer keeps four brown hens in a yard and every hen lays two eggs a day"
    thinking = "First I count what one hen lays in a day and then I multiply by the number of hens in the yard"
    samples = [
        sample_of(thinking, prompt=f"{shared}. How many eggs are there after one day?", id="a"),
        sample_of("Something else entirely is thought of here.", id="b"),
        sample_of(thinking, prompt=f"{shared}. How many eggs are there after one day then?", id="c"),
        sample_of("Nobody can say.", prompt="The quick fox jumps over a lazy dog near the river bank at dawn.", id="d"),
        sample_of("It is no good.", id="e").settled(Reason.WRONG, "differs"),
    ]
    kept = [one if one.reason else replace(one.settled(Reason.CORRECT), tokens=10) for one in samples]
    parts = parts_of(tmp_path, kept)
    benchmarks = Benchmarks({"exam": [Item("line 1", ("a quick fox jumps over a lazy dog near the river bank",))]})
    rows = list(read_parts(parts))
    lost = sift(rows, 0.8, benchmarks)
    assert {rows[place]["problem_id"]: reason for place, (reason, _) in lost.items()} == {
        "c": Reason.DUPLICATE,
        "d": Reason.CONTAMINATED,
    }
    assert sift(rows, None, None) == {}
    table = CollectionTable()
    write_set(parts, lost, table, tmp_path)
    data = [json.loads(line) for line in (tmp_path / "data.jsonl").read_text().splitlines()]
    dropped = [json.loads(line) for line in (tmp_path / "dropped.jsonl").read_text().splitlines()]
    assert [row["problem_id"] for row in data] == ["a", "b"]
    assert [(row["problem_id"], row["reason"]) for row in dropped] == [
        ("c", "duplicate"),
        ("d", "contaminated"),
        ("e", "wrong"),
    ]
    assert "a#0" in dropped[0]["detail"]
    assert "line 1" in dropped[1]["detail"]
    assert all(row["text"] for row in dropped)
    assert table.summary()["samples"] == 2
    assert "dropped: contaminated 1, duplicate 1, wrong 1" in table.text()


def test_the_table_has_the_papers_domains_in_the_papers_order() -> None:
    table = CollectionTable()
    for domain in ("general", "zoology", "logic", "stem", "code", "math"):
        row = {"domain": domain, "problem_id": domain, "tokens": 100, "reason": "correct"}
        table.add(row)
        table.add({**row, "reason": "wrong", "tokens": 0})
    rows = table.rows()
    assert [row["domain"] for row in rows] == ["math", "code", "stem", "logic", "general", "zoology", "all"]
    assert rows[-1] == {
        "domain": "all",
        "problems": 6,
        "sampled": 12,
        "samples": 6,
        "kept_share": 0.5,
        "mean_tokens": 100.0,
        "reasons": {"correct": 6, "wrong": 6},
    }


@pytest.mark.parametrize("name", ["r1-zero-compact", "r1-compact", "chat-think"])
def test_few_shot_examples_are_turns_that_the_template_itself_reads(name: str) -> None:
    template = TEMPLATES[name]
    policy = load_policy("thinkery://mini-base", template=template)
    stage = CollectStage.model_validate(
        {"name": "cold", "kind": "collect", "from": "base", "problems": {"source": "mini"}, "max_completion_length": 48}
    )
    rewriter = FewShotRewriter(stage, policy, NativeRollout(policy), 0)
    for language, answer in (("en", "The answer is 5."), ("zh", "答案是5。")):
        messages = rewriter.messages(language, "What is 5+7?", "5+7 is 12", "12")
        reply = template.parse(messages[-2]["content"])
        assert (reply.well_formed, reply.answer) == (True, answer)
        assert "5+7 is 12" in template.render(messages)


def test_the_policy_rewrites_its_samples_the_same_way_every_time_and_says_what_failed() -> None:
    policy = load_policy("thinkery://mini-base", template=TEMPLATES["r1-zero-compact"])
    stage = CollectStage.model_validate(
        {"name": "cold", "kind": "collect", "from": "base", "problems": {"source": "mini"}, "max_completion_length": 48}
    )
    samples = [sample_of(f"First {i}+7={i + 7}.", f"{i + 7}", f"What is {i}+7?", id=f"p{i}") for i in range(12)]
    rewriter = FewShotRewriter(stage, policy, NativeRollout(policy), 0)
    first, again = rewriter.refine(samples, 3), rewriter.refine(samples, 3)
    assert first == again
    assert first != rewriter.refine(samples, 4)
    rewritten = [sample for sample in first if sample.reason is None]
    assert rewritten
    assert all(sample.rewritten and sample.thinking and sample.answer for sample in rewritten)
    assert {sample.reason for sample in first if sample.reason is not None} <= {Reason.UNREFINED}
