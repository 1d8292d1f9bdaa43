"""Conventions: each is recognised by its columns, and every mistake names its line and field."""

from __future__ import annotations

import json
from collections import Counter
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thinkery.problems.columns import ColumnLayout, problems_of, text_columns
from thinkery.problems.conventions.plain import last_box
from thinkery.problems.files import Row, read_rows
from thinkery.problems.source import open_source
from thinkery.recipe import ProblemSpec
from thinkery.types import Problem, UserError


def rows_of(*values: dict[str, Any]) -> list[Row]:
    return [Row(f"a.jsonl, line {number}", number, parsed=value) for number, value in enumerate(values, start=1)]


def read(*values: dict[str, Any], **columns: str | None) -> list[Problem]:
    _, problems = problems_of(iter(rows_of(*values)), "a", columns)
    return [problem for _, problem in problems]


def layout_of(values: dict[str, Any], **columns: str | None) -> ColumnLayout:
    return problems_of(iter(rows_of(values)), "a", columns)[0]


def refusal(*values: dict[str, Any], **columns: str | None) -> str:
    with pytest.raises(UserError) as caught:
        read(*values, **columns)
    return str(caught.value)


MESSAGES = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "What is 6*7?"}]
STDIN = {"language": "python", "test_cases": [{"input": "1\n", "output": "2\n", "type": "stdin_stdout"}]}
EXAMPLES: dict[str, dict[str, Any]] = {
    "own": {"prompt": "6*7?", "answer": 42, "id": "x", "level": 3, "language": "de", "domain": "logic", "hint": "h"},
    "trl": {"prompt": MESSAGES, "ground_truth": "42"},
    "deepmath": {"prompt": MESSAGES, "solution": "$42$"},
    "open-r1": {"problem": "6*7?", "solution": "so \\boxed{42}", "answer": "42", "uuid": "u", "generations": ["a"]},
    "math": {"problem": "6*7?", "solution": "so $\\boxed{\\frac{4}{2}}$.", "level": "Level 5", "type": "Algebra"},
    "gsm8k": {"question": "6*7?", "answer": "6 * 7 = <<6*7=42>>42\n#### 1,042"},
    "verl": {
        "data_source": "openai/gsm8k",
        "prompt": MESSAGES,
        "ability": "math",
        "reward_model": {"style": "rule", "ground_truth": "42"},
        "extra_info": {"index": 0, "split": "train"},
    },
    "verl code": {
        "data_source": "taco",
        "prompt": MESSAGES,
        "ability": "code",
        "reward_model": {"style": "rule", "ground_truth": json.dumps({"inputs": ["1\n"], "outputs": ["2\n"]})},
    },
    "open-r1 code": {
        "problem_statement": "Double it.",
        "verification_info": STDIN,
        "gold_standard_solution": "```python\nprint(int(input())*2)\n```",
        "problem_id": "p1",
    },
    "humaneval": {
        "task_id": "HumanEval/0",
        "prompt": "import math\n\ndef double(x):\n    '''Twice x.'''\n",
        "entry_point": "double",
        "canonical_solution": "    return 2 * x\n",
        "test": "def check(candidate):\n    assert candidate(2) == 4\n",
    },
    "mbpp": {
        "task_id": 11,
        "text": "Write a function to double a number.",
        "code": "def double(x):\n    return 2 * x",
        "test_list": ["assert double(2) == 4", "assert double(0) == 0"],
        "test_setup_code": "",
    },
    "apps": {
        "question": "Double the number.",
        "input_output": json.dumps({"inputs": ["1\n"], "outputs": ["2\n"]}),
        "solutions": json.dumps(["print(int(input())*2)"]),
        "starter_code": "",
        "difficulty": "interview",
    },
    "taco function": {
        "question": "Double the number.",
        "input_output": json.dumps({"fn_name": "double", "inputs": [[1]], "outputs": [[2]]}),
        "starter_code": "def double(x):\n\t",
    },
    "mmlu": {"question": "6*7?", "choices": ["41", "42", "43", "44"], "answer": 1, "subject": "arithmetic"},
    "mmlu-pro": {"question_id": 7, "question": "6*7?", "options": ["41", "42", "43"], "answer": "B", "answer_index": 1},
    "arc": {
        "id": "arc-1",
        "question": "6*7?",
        "choices": {"text": ["41", "42"], "label": ["1", "2"]},
        "answerKey": "2",
    },
    "gpqa": {
        "Question": "6*7?",
        "Correct Answer": "42\n",
        "Incorrect Answer 1": "41",
        "Incorrect Answer 2": "40",
        "Incorrect Answer 3": "39",
    },
}


@pytest.mark.parametrize(
    ("example", "layout", "reference", "verifier"),
    [
        ("own", "plain: prompt = prompt, reference = answer", "42", "math"),
        ("trl", "plain: prompt = prompt, reference = ground_truth", "42", "math"),
        ("deepmath", "plain: prompt = prompt, reference = solution", "$42$", "math"),
        ("open-r1", "plain: prompt = problem, reference = answer", "42", "math"),
        ("math", "plain: prompt = problem, reference = solution", "\\frac{4}{2}", "math"),
        ("gsm8k", "gsm8k: prompt = question, reference = answer after ####", "1,042", "math"),
        ("verl", "verl: prompt = prompt, reference = reward_model.ground_truth", "42", "math"),
        ("verl code", "verl: prompt = prompt, reference = reward_model.ground_truth", None, "code"),
        ("open-r1 code", "open-r1 code: prompt = problem_statement, tests = verification_info", None, "code"),
        ("humaneval", "humaneval: prompt = prompt, tests = test", None, "code"),
        ("mbpp", "mbpp: prompt = text, tests = test_list", None, "code"),
        ("apps", "apps: prompt = question, tests = input_output", None, "code"),
        ("taco function", "apps: prompt = question, tests = input_output", None, "code"),
        ("mmlu", "multiple choice: prompt = question, reference = answer as a letter", "B", "choice"),
        ("mmlu-pro", "multiple choice: prompt = question, reference = answer as a letter", "B", "choice"),
        ("arc", "multiple choice: prompt = question, reference = answerKey as a letter", "B", "choice"),
        ("gpqa", "gpqa: prompt = Question, reference = Correct Answer as a letter, options shuffled", None, "choice"),
    ],
)
def test_a_convention_is_recognised_by_its_columns(
    example: str, layout: str, reference: str | None, verifier: str
) -> None:
    assert str(layout_of(EXAMPLES[example])) == layout
    (problem,) = read(EXAMPLES[example])
    assert problem.verifier == verifier
    if reference is not None:
        assert problem.reference == reference


def test_the_projects_own_columns_are_read_and_the_rest_travels_on() -> None:
    (problem,) = read(EXAMPLES["own"])
    assert problem == Problem("x", "6*7?", "42", "logic", 3, "de", "math", {"hint": "h"})
    (math,) = read(EXAMPLES["math"])
    assert (math.id, math.level) == ("a-1", 5)
    assert math.columns == {"type": "Algebra", "solution": EXAMPLES["math"]["solution"]}
    (gsm8k,) = read(EXAMPLES["gsm8k"])
    assert gsm8k.columns == {"solution": EXAMPLES["gsm8k"]["answer"]}
    (verl,) = read(EXAMPLES["verl"])
    assert verl.prompt == tuple(MESSAGES)
    assert verl.columns["extra_info"] == {"index": 0, "split": "train"}


def test_a_row_without_an_answer_may_have_a_solution() -> None:
    rows = (
        {"prompt": "p", "answer": "1"},
        {"prompt": "q", "solution": "so \\boxed{2}"},
        {"prompt": "r", "answer": None, "solution": 3},
    )
    assert [problem.reference for problem in read(*rows)] == ["1", "2", "3"]


def test_columns_that_would_be_mistaken_for_arguments_of_a_reward_are_left_behind() -> None:
    (problem,) = read({"prompt": "p", "answer": "1", "completions": ["a"], "prompts": 1, "completion_ids": 2, "k": 3})
    assert problem.columns == {"k": 3}


@pytest.mark.parametrize(
    ("example", "reference", "solution"),
    [
        ("open-r1 code", STDIN, EXAMPLES["open-r1 code"]["gold_standard_solution"]),
        ("apps", {"language": "python", "inputs": ["1\n"], "outputs": ["2\n"]}, "print(int(input())*2)"),
        ("taco function", {"language": "python", "fn_name": "double", "inputs": [[1]], "outputs": [[2]]}, None),
        (
            "mbpp",
            {"language": "python", "unit_tests": "assert double(2) == 4\nassert double(0) == 0", "setup": ""},
            EXAMPLES["mbpp"]["code"],
        ),
    ],
)
def test_tests_of_programs_become_one_json_reference(example: str, reference: Any, solution: str | None) -> None:
    (problem,) = read(EXAMPLES[example])
    assert json.loads(problem.reference) == reference
    assert problem.columns.get("solution_code") == solution


def test_verification_info_may_be_json_text() -> None:
    row = EXAMPLES["open-r1 code"] | {"verification_info": json.dumps(STDIN)}
    assert read(row)[0].reference == read(EXAMPLES["open-r1 code"])[0].reference


def test_humanevals_reference_and_solution_run_as_python() -> None:
    (problem,) = read(EXAMPLES["humaneval"])
    tests = json.loads(problem.reference)
    space: dict[str, Any] = {}
    exec(problem.columns["solution_code"] + tests["unit_tests"], space)  # the test's own text
    space["check"](space[tests["entry_point"]])
    assert tests["prompt"] == tests["setup"] == EXAMPLES["humaneval"]["prompt"]
    assert "def double(x):" in problem.prompt


def test_a_prompt_of_code_says_how_to_answer() -> None:
    assert "standard input" in str(read(EXAMPLES["apps"])[0].prompt)
    assert "the Python function double" in str(read(EXAMPLES["taco function"])[0].prompt)
    assert "assert double(2) == 4" in str(read(EXAMPLES["mbpp"])[0].prompt)
    assert read(EXAMPLES["open-r1 code"])[0].prompt == "Double it."  # it says so itself


def test_options_are_written_out_under_letters() -> None:
    (problem,) = read(EXAMPLES["arc"])
    assert problem.prompt == "6*7?\n\nA. 41\nB. 42\n\nAnswer with the letter of the right option."
    assert problem.columns["choices"] == ["41", "42"]


@pytest.mark.parametrize("answer", [2, "2", "C", "c", "(C)", "C.", "43"])
def test_a_choice_is_named_by_index_letter_or_text(answer: object) -> None:
    assert read({"question": "?", "choices": ["41", "42", "43"], "answer": answer})[0].reference == "C"


def test_shuffled_options_keep_their_answer_and_spread_it() -> None:
    questions = [EXAMPLES["gpqa"] | {"Question": f"question {number}"} for number in range(400)]
    problems = read(*questions)
    assert problems == read(*questions)
    assert all(p.columns["choices"]["ABCD".index(p.reference)] == "42" for p in problems)
    assert min(Counter(problem.reference for problem in problems).values()) > 60


def test_columns_say_what_to_take() -> None:
    row = {"question": "6*7?", "final": 42, "answer": "long story", "level": "hard", "nr": 9}
    (problem,) = read(row, prompt="question", answer="final", level=None, id="nr")
    assert (problem.prompt, problem.reference, problem.id, problem.level) == ("6*7?", "42", "9", 0)
    assert problem.columns == {"answer": "long story", "level": "hard"}
    coded = EXAMPLES["open-r1 code"] | EXAMPLES["mbpp"]
    assert layout_of(coded, answer="test_list", prompt="text").convention.name == "mbpp"
    assert layout_of(coded, answer="verification_info").prompt == "problem_statement"


def test_a_verifier_can_be_named_by_row_or_for_all() -> None:
    row = {"prompt": "p", "answer": "x", "verifier": "choice"}
    assert read(row)[0].verifier == "choice"
    _, problems = problems_of(iter(rows_of(row)), "a", {}, "math")
    assert next(problems)[1].verifier == "math"
    tests = {"prompt": "Double it.", "answer": STDIN, "verifier": "code"}
    assert json.loads(read(tests)[0].reference) == STDIN


def test_a_programming_language_is_no_language_of_people() -> None:
    (problem,) = read(EXAMPLES["open-r1 code"] | {"language": "python"})
    assert problem.language == "en"
    assert problem.columns["language"] == "python"


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([{"answer": 1}], "line 1: the field prompt is missing; the row has answer; say which to take with columns: "),
        ([{"prompt": "p"}], "line 1: the field answer is missing; the row has prompt"),
        ([{"text": "t"}], "line 1: the fields prompt and answer are missing"),
        (
            [{"prompt": "p", "answer": 1}, {"prompt": "p"}],
            "line 2: the field answer must be text or a number, not null",
        ),
        ([{"prompt": "", "answer": 1}], "line 1: the field prompt must be text that is not empty, not ''"),
        ([{"prompt": 7, "answer": 1}], "line 1: the field prompt must be text or a list of messages, not 7"),
        ([{"prompt": [{"role": "user"}], "answer": 1}], "message 1 has null as its content, not text"),
        ([{"prompt": [{"role": "bot", "content": "x"}], "answer": 1}], "message 1 has the role 'bot', not one of "),
        ([{"prompt": ["x"], "answer": 1}], "message 1 is text, not an object with role and content"),
        ([{"prompt": "p", "answer": True}], "line 1: the field answer must be text or a number, not True"),
        ([{"prompt": "p", "answer": {"a": 1}}], "line 1: the field answer must be text or a number, not an object"),
        ([{"prompt": "p", "answer": float("nan")}], "line 1: the field answer must be text or a number, not nan"),
        ([{"prompt": "p\ud800", "answer": 1}], "line 1: the field prompt holds half of a character"),
        ([{"prompt": "p\0", "answer": 1}], "line 1: the field prompt holds a NUL character, at character 2"),
        (
            [{"prompt": "p", "answer": 1, "level": "hard"}],
            "the field level must be a whole number, not 'hard'; if it is",
        ),
        (
            [{"prompt": "p", "answer": 1, "id": "x"}] * 2,
            "line 2: the id 'x' is that of a.jsonl, line 1; ids must differ",
        ),
        ([EXAMPLES["gsm8k"], EXAMPLES["gsm8k"] | {"answer": "5"}], "line 2: the field answer must end in ####"),
        ([EXAMPLES["verl"] | {"reward_model": {"style": "model"}}], "has the style 'model'; only rule can be checked"),
        ([EXAMPLES["mmlu"] | {"answer": 4}], "must be a label (A to D), an index (0 to 3) or an option's text, not 4"),
        ([EXAMPLES["mmlu"] | {"choices": ["one"]}], "the field choices must be a list of 2 to 10 options"),
        ([EXAMPLES["apps"] | {"input_output": "{"}], "the field input_output must be JSON, not '{'"),
        (
            [{"prompt": "p", "problem": "q", "answer": 1}],
            "line 1: the prompt could be prompt or problem; say which with ",
        ),
        ([{"prompt": "p", "answer": 1, "reference": 2}], "line 1: the answer could be answer or reference"),
        (
            [EXAMPLES["mbpp"] | {"prompt": "p", "verification_info": STDIN}],
            "could be open-r1 code or mbpp; say which with columns: {answer: verification_info} or columns: {answer: ",
        ),
    ],
)
def test_a_bad_row_says_where_and_what(rows: list[dict[str, Any]], expected: str) -> None:
    message = refusal(*rows)
    assert message.startswith("a.jsonl, line ")
    assert expected in message


def test_a_column_that_is_not_there_is_named() -> None:
    assert "columns: {prompt: quest}: there is no such field; the row has" in refusal(EXAMPLES["own"], prompt="quest")
    assert "the field nr is missing, which columns: {id: nr} asks for" in refusal(EXAMPLES["own"], id="nr")


@pytest.mark.parametrize(
    ("solution", "final"),
    [
        (r"so \boxed{1} or rather \boxed{\frac{1}{2}}.", r"\frac{1}{2}"),
        (r"\boxed{\{1, 2\}}", r"\{1, 2\}"),
        (r"\boxed{x = \boxed{3}}", r"x = \boxed{3}"),
        (r"\boxed 5", "5"),
        (r"\framebox{204} minutes", "204"),
        (r"\boxed{7", None),
        ("no box", None),
    ],
)
def test_the_last_box_of_a_worked_solution_is_its_answer(solution: str, final: str | None) -> None:
    assert last_box(solution) == final


def test_a_benchmark_without_answers_still_has_its_prompts() -> None:
    assert text_columns(rows_of({"question": "q", "source": "s"})[0]) == ("question", None)
    with pytest.raises(UserError):
        text_columns(rows_of({"question": "q", "problem": "s"})[0])
    assert text_columns(rows_of({"question": "q", "problem": "s"})[0], {"prompt": "problem"}) == ("problem", None)


JSONISH = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@pytest.mark.slow
@settings(max_examples=400, deadline=None)
@given(example=st.sampled_from(sorted(EXAMPLES)), data=st.data())
def test_any_value_in_any_field_gives_a_problem_or_a_message(example: str, data: st.DataObject) -> None:
    changed = dict(EXAMPLES[example])
    for column in data.draw(st.lists(st.sampled_from(sorted(changed)), min_size=1, max_size=2)):
        changed[column] = data.draw(JSONISH)
    message = None
    rows = rows_of(EXAMPLES[example], changed) if data.draw(st.booleans()) else rows_of(changed)
    try:
        for _, problem in problems_of(iter(rows), "a", {"id": None})[1]:
            json.dumps([problem.prompt, problem.reference], ensure_ascii=False).encode()
    except UserError as error:
        message = str(error)
    assert message is None or message.startswith("a.jsonl, line ")


def test_prompts_that_no_rule_checks_may_come_without_an_answer(tmp_path: Path) -> None:
    path = tmp_path / "talk.jsonl"
    path.write_text('{"prompt": "Hello!"}\n{"prompt": "Who are you?", "answer": "Thinkery"}\n')
    source = open_source(ProblemSpec(source=str(path), verifier="none", preference="helpful"))
    hello, who = source.fixed(None)
    assert (hello.reference, hello.verifier, hello.domain) == ("", "none", "general")
    assert (who.reference, who.verifier, who.columns["preference"]) == ("Thinkery", "none", "helpful")
    assert source.notes == [f"{path}: 2 problems; plain: prompt = prompt, checked by no rule"]
    path.write_text('{"prompt": "Hello!", "verifier": "none"}\n{"prompt": "1 + 1", "answer": "2"}\n')
    assert [one.verifier for one in open_source(ProblemSpec(source=str(path))).fixed(None)] == ["none", "math"]
    path.write_text('{"prompt": "Hello!"}\n')
    with pytest.raises(UserError, match="line 1: the field answer is missing"):
        open_source(ProblemSpec(source=str(path)))


@pytest.mark.shared
def test_the_benchmarks_are_read_whole(shared: Path) -> None:
    sizes = {"gsm8k_test.jsonl": 1319, "rllm_math.json": 500, "rllm_aime.json": 30, "HumanEval.jsonl.gz": 164}
    for name, size in sizes.items():
        problems = open_source(ProblemSpec(source=str(shared / "data" / name))).fixed(None)
        assert len(problems) == len({problem.id for problem in problems}) == size
    rows = read_rows(shared / "data" / "gsm8k_test.jsonl")
    _, problems = problems_of(chain(rows), "gsm8k")
    assert next(problems)[1].reference == "18"
