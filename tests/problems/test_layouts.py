"""The declared layouts: a row of every data set is read as it is meant; a right answer is told from a wrong one."""

from __future__ import annotations

import base64
import json
import pickle
import time
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thinkery.models.template import TEMPLATES
from thinkery.problems.columns import problems_of
from thinkery.problems.conventions.base import Convention
from thinkery.problems.conventions.layouts import CONVENTIONS
from thinkery.problems.conventions.packed import unpack_text
from thinkery.problems.demonstration_columns import KNOWN, demonstrations_of
from thinkery.problems.files import Row
from thinkery.problems.preferences import KNOWN_LABELS, KNOWN_PAIRS, Prompt, label_of, pair_of
from thinkery.recipe.verification import Verification
from thinkery.rewards.fitness import why_unfit
from thinkery.rewards.grader import settle
from thinkery.rewards.interfaces import Verifier
from thinkery.rewards.registry import make_verifier
from thinkery.types import Outcome, Problem, UserError

ROWS: list[dict[str, Any]] = [
    json.loads(line) for line in (Path(__file__).parent / "layout_rows.jsonl").read_text(encoding="utf-8").splitlines()
]
BY_NAME = {row["dataset"]: row for row in ROWS}
OTHERS = {"demonstrations": KNOWN, "pairs": KNOWN_PAIRS, "labels": KNOWN_LABELS}
PROBLEMS = [row for row in ROWS if row["layout"] not in OTHERS]
DOCS = Path(__file__).parents[2] / "docs" / "data.md"


def read(row: dict[str, Any]) -> tuple[str, Problem]:
    layout, problems = problems_of(iter([Row("a.jsonl, line 1", 1, parsed=row)]), "a")
    return layout.convention.name, next(problems)[1]


def refusal(row: dict[str, Any]) -> str:
    with pytest.raises(UserError) as caught:
        read(row)
    return str(caught.value)


@pytest.fixture(scope="module")
def verifiers() -> Iterator[dict[str, Verifier]]:
    made = {name: make_verifier(name, TEMPLATES["r1-zero"], Verification()) for name in {*_verifiers()}}
    yield made
    for verifier in made.values():
        verifier.close()


def _verifiers() -> list[str]:
    return [row["gives"]["verifier"] for row in PROBLEMS]


@pytest.mark.parametrize("case", PROBLEMS, ids=[row["dataset"] for row in PROBLEMS])
def test_a_row_becomes_the_problem_that_it_is_meant_to_be(case: dict[str, Any], verifiers: dict[str, Verifier]) -> None:
    name, problem = read(case["row"])
    gives = case["gives"]
    assert (name, problem.verifier, problem.language) == (
        case["layout"],
        gives["verifier"],
        gives.get("language", "en"),
    )
    if "reference" in gives:
        reference = gives["reference"]
        assert (problem.reference if isinstance(reference, str) else json.loads(problem.reference)) == reference
    assert problem.columns.get("constraints") == gives.get("constraints")
    assert case.get("prompt_has", "") in str(problem.prompt)
    assert why_unfit(problem) is None
    verifier = verifiers[problem.verifier]
    right, wrong = (settle(verifier.begin(case[side], problem), time.monotonic() + 120) for side in ("right", "wrong"))
    assert right.outcome is Outcome.CORRECT, right.reason
    assert wrong.outcome is Outcome.WRONG, wrong.reason
    gold = verifier.reference_completion(problem)
    assert gold is None or settle(verifier.begin(gold, problem), time.monotonic() + 120).correct


@pytest.mark.parametrize("case", [row for row in ROWS if row["layout"] in OTHERS], ids=lambda row: row["dataset"])
def test_a_row_to_learn_from_becomes_what_it_is_meant_to_be(case: dict[str, Any]) -> None:
    row, gives = Row("a.jsonl, line 1", 1, parsed=case["row"]), case["gives"]
    if case["layout"] == "demonstrations":
        [one] = demonstrations_of(iter([row]), "a")
        assert {"prompt": one.prompt, "thinking": one.thinking, "answer": one.answer} == gives
    elif case["layout"] == "pairs":
        pair = pair_of(row, {})
        assert (text(pair.prompt), pair.chosen.answer, pair.rejected.answer) == tuple(gives.values())
    else:
        label = label_of(row, {})
        assert (text(label.prompt), label.response.answer, label.safe) == tuple(gives.values())


def text(prompt: Prompt) -> str:
    return prompt if isinstance(prompt, str) else "".join(turn["content"] for turn in prompt)


def test_every_data_set_that_is_declared_has_a_row_and_forty_are() -> None:
    declared = Counter((one.name, known) for one in CONVENTIONS for known in data_sets(one))
    declared += Counter((kind, known) for kind, names in OTHERS.items() for known in names.split(", "))
    assert declared == Counter((row["layout"], row["dataset"]) for row in ROWS)
    assert len(declared) >= 40


def data_sets(convention: Convention) -> list[str]:
    return convention.known.split(", ")


def test_the_page_lists_every_layout_as_it_is_declared() -> None:
    lines = DOCS.read_text(encoding="utf-8").splitlines()
    for one in CONVENTIONS:
        assert f"| {one.name} | {one.known} | {columns_of(one)} | {one.says.format(answer='the answer')} |" in lines
    for kind, known in OTHERS.items():
        assert f"| {kind} | {known} |" in lines


def columns_of(convention: Convention) -> str:
    """The columns as the page writes them: the prompt's, the answer's, the others that must be there."""
    prompts = " or ".join(f"`{name}`" for names in convention.prompt for name in names.split(" > "))
    answers = ", else ".join(" or ".join(f"`{name}`" for name in group) for group in convention.answer)
    needs = [" or ".join(f"`{name}`" for name in names.split("|")) for names in convention.needs]
    return "; ".join(filter(None, [prompts, answers, ", ".join(needs)]))


def pack(pickled: bytes) -> str:
    return base64.b64encode(zlib.compress(pickled)).decode()


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("text", ["[1]", "", "Größe 猫", "x" * 70_000])
def test_packed_private_tests_are_unpacked_whatever_the_pickles_protocol(protocol: int, text: str) -> None:
    assert unpack_text(pack(pickle.dumps(text, protocol=protocol))) == text


class Runs:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return (Path.touch, (Path("run-by-a-pickle"),))  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("packed", "said"),
    [
        (pack(pickle.dumps(Runs())), "does more than give a text"),
        (pack(pickle.dumps(["a"])), "does more than give a text"),
        (pack(pickle.dumps(b"a")), "does more than give a text"),
        (pack(b"\x80\x04."), "a pickle of 0 texts"),
        (pack(pickle.dumps("abc")[:-3]), "damaged"),
        (pack(pickle.dumps("abc"))[:-8], "cut off"),
        ("not base64!", "neither JSON nor base64"),
        (base64.b64encode(zlib.compress(b"x" * 99)[:-6]).decode(), "cut off"),
    ],
)
def test_any_other_pickle_is_refused_and_nothing_of_it_runs(
    packed: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=said):
        unpack_text(packed)
    row = BY_NAME["LiveCodeBench stdin"]["row"] | {"private_test_cases": packed}
    assert refusal(row).startswith("a.jsonl, line 1: the field private_test_cases ")
    assert not list(tmp_path.iterdir())


def changed(name: str, **columns: Any) -> dict[str, Any]:
    return BY_NAME[name]["row"] | columns


STDIN = {"language": "python", "test_cases": [{"input": "3\n", "output": "9\n", "type": "stdin_stdout"}]}
CALL = {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "f"}}]}


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (changed("NuminaMath-1.5", answer="proof"), "the field answer is 'proof': a problem without a final answer"),
        (changed("NuminaMath-1.5", answer="notfound"), "a problem without a final answer"),
        (changed("NuminaMath-1.5", problem_is_valid="Incomplete"), "the data set itself calls the row unusable"),
        (changed("MATH", solution="So the rate is 3.\nTherefore, the answer is: 180."), r"has no \boxed{} around its"),
        (changed("MMLU-Redux", error_type="multiple_correct_answers"), "the question has no one answer"),
        (changed("verl", reward_model={"style": "model", "ground_truth": "4"}), "has the style 'model'"),
        (changed("Skywork-OR1 math", reward_model={"style": "rule", "ground_truth": '["1", "2"]'}), "several right"),
        (changed("SYNTHETIC-2", task_type="git_diff"), "the field task_type is 'git_diff', which is not read"),
        (changed("Tulu 3 RLVR math", dataset="magic"), "the field dataset is 'magic'"),
        (changed("Tulu 3 RLVR IF", ground_truth='{"func_name": "rhymes"}'), "names no instruction that is known"),
        (changed("IFEval", kwargs=[{}]), "must hold as many objects as instruction_id_list: 2"),
        (changed("CLUEWSC2020", label=-1), "the field label must be true or false"),
        (changed("C-Eval", C=""), "the field C must be the text of an option"),
        (changed("DROP", answers_spans={"spans": [], "types": []}), "holds no number, no date and no spans"),
        (changed("deepmind/code_contests", private_tests=[1]), "must be an object with the list input"),
        (changed("MBPP", test_list=[1]), "must be source, or a list of its lines"),
        (changed("KodCode", test=""), "holds no tests"),
        (changed("TRL", tools=[{"name": "f"}]), "the field tools can't be honoured: no template here writes tools"),
        (changed("TRL", images=["x.png"]), "the field images can't be honoured: only text is read"),
        (changed("TRL", prompt=[{"role": "user", "content": "Hi"}, CALL]), "message 2 has tool_calls"),
        (changed("TRL", prompt=[{"role": "user", "content": [{"type": "image"}]}]), "a part is image"),
        (changed("APPS", checker="def check(): ..."), "the field checker can't be honoured"),
        (changed("KodCode", test_setup="import x"), "the field test_setup can't be honoured"),
        (changed("this project", language="Klingon"), "must be an ISO 639 code such as en, zh or pt, not 'Klingon'"),
    ],
)
def test_what_changes_the_meaning_and_can_not_be_honoured_is_refused(row: dict[str, Any], said: str) -> None:
    assert said in refusal(row)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (
            changed("open-r1/codeforces", generated_checker="print(1)"),
            "checker: can't be honoured: a program that judges",
        ),
        (
            changed("open-r1/codeforces", interaction_format="Ask."),
            "interactor: can't be honoured: a program that answ",
        ),
        (changed("open-r1/codeforces", input_mode="file"), "input_mode: can't be honoured"),
        (changed("deepmind/code_contests", input_file="in.txt"), "input_file: can't be honoured"),
        (
            changed("open-r1 problems with tests", verification_info=STDIN | {"checker": "x"}),
            "checker: can't be honoured",
        ),
        (changed("open-r1 problems with tests", verification_info=STDIN | {"language": "rust"}), "language: 'rust'"),
        (changed("IFEval", instruction_id_list=["a:b", "c:d"]), "constraints[0]: type = 'a:b'; allowed: "),
        (changed("this project", verifier="maths"), "there is no verifier 'maths'"),
    ],
)
def test_what_no_verifier_honours_is_known_without_any_completion(row: dict[str, Any], said: str) -> None:
    reason = why_unfit(read(row)[1])
    assert reason is not None
    assert said in reason


@pytest.mark.parametrize(
    "row",
    [
        changed("AceReason-Math", answer=10**400),
        changed("DROP as published", validated_answers={"number": None, "date": [1], "spans": 3}),
        changed("Tulu 3 RLVR IF", ground_truth='{"func_name": [[1]]}'),
        changed("MBPP", test_list=["\ud800"]),
        changed("CLUEWSC2020", target={"span1_text": "\ud800", "span2_text": "x"}),
        changed("PrimeIntellect verifiable-math-problems", verification_info='{"ground_truth": "\\ud800"}'),
    ],
)
def test_odd_values_deep_in_a_row_give_a_problem_or_a_message(row: dict[str, Any]) -> None:
    try:
        problem = read(row)[1]
        json.dumps([problem.prompt, problem.reference], ensure_ascii=False).encode()
    except UserError as error:
        message = str(error)
    else:
        message = None
    assert message is None or message.startswith("a.jsonl, line 1: the field ")


def test_small_differences_are_read_over() -> None:
    parts = [{"role": "user", "content": [{"type": "text", "text": "What is"}, {"type": "text", "text": "6*7?"}]}]
    assert read(changed("TRL", prompt=parts))[1].prompt == ({"role": "user", "content": "What is\n6*7?"},)
    assert read(changed("this project", level="5"))[1].level == 5
    assert read(changed("this project", language="English"))[1].language == "en"
    assert read(changed("this project", language="pt-BR"))[1].language == "pt-BR"
    padded = {"label": ["A", "B", "C"], "text": ["Mars", "Venus", None]}
    assert read(changed("ARC", choices=padded, answerKey="B"))[1].columns["choices"] == ["Mars", "Venus"]
    several = {"question": "Which?", "answer": ["2", "two"], "verifier": "f1"}
    assert json.loads(read(several)[1].reference) == [["2"], ["two"]]


JSONISH = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=600, deadline=None)
@given(case=st.sampled_from(ROWS), data=st.data())
def test_any_value_in_any_field_gives_what_is_meant_or_a_message_with_its_place(
    case: dict[str, Any], data: st.DataObject
) -> None:
    row = dict(case["row"])
    for column in data.draw(st.lists(st.sampled_from(sorted(row)), min_size=1, max_size=2)):
        row[column] = data.draw(JSONISH)
    rows = [Row(f"a.jsonl, line {number}", number, parsed=one) for number, one in ((1, case["row"]), (2, row))]
    message = None
    try:
        if case["layout"] == "demonstrations":
            assert list(demonstrations_of(iter(rows), "a", {"id": None}))
        elif case["layout"] in OTHERS:
            read_one: Any = pair_of if case["layout"] == "pairs" else label_of
            assert read_one(rows[1], {})
        else:
            for _, problem in problems_of(iter(rows), "a", {"id": None})[1]:
                json.dumps([problem.prompt, problem.reference], ensure_ascii=False).encode()
                why_unfit(problem)
    except UserError as error:
        message = str(error)
    assert message is None or message.startswith("a.jsonl, line ")
