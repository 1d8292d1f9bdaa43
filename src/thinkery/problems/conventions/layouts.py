"""The ways in which data sets write problems, declared: which columns make one up, and how they are read.

In order: the name; where the prompt stands (``a > b``: b where there is no a); where the answer stands, in groups; what
a user is told of the reference; the reader, which takes columns to fields; further columns that the row must have; the
data sets that are known to be written so. ``docs/data.md`` shows the table to users, and
``tests/problems/layout_rows.jsonl`` holds a row of every data set. Left out: reading (the modules beside this one) and
choosing (``columns.py``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from thinkery.problems.conventions import choice, code, plain, texts
from thinkery.problems.conventions.base import Convention

_PROMPTS = ("prompt", "question", "problem", "Problem", "Question")
_STATEMENTS = ("problem", "prompt", "problem_statement", "question")
_ANSWERS = (("answer", "final_answer", "ground_truth", "reference"), ("Answer",), ("solution",))
_OPTIONS = ("choices|options",)
_WRONG = ("Incorrect Answer 1", "Incorrect Answer 2", "Incorrect Answer 3")
_LETTER = "reference = {answer} as a letter"


def _is_object(values: Mapping[str, Any], answer: str) -> bool:
    return isinstance(values[answer], dict)


PLAIN = Convention(
    "plain", _PROMPTS, _ANSWERS, "reference = {answer}", plain.read_plain, any_columns=True,
    known="this project, TRL, MATH, MATH-500, AIME 2024, AIME 2024 (Maxwell-Jia), AIME 2025, AIME 2025 (OpenCompass), "
    "AIME 1983-2024, DeepScaleR, BigMath, AceReason-Math, LIMO, WebInstruct-verified",
)  # fmt: skip
CONVENTIONS: tuple[Convention, ...] = (
    PLAIN,
    Convention("numina", ("problem",), (("answer",), ("solution",)), "reference = {answer}", plain.read_numina,
               ("question_type",), "NuminaMath-1.5, OpenR1-Math"),
    Convention("gsm8k", _PROMPTS, (("answer",),), "reference = {answer} after ####", plain.read_gsm8k,
               fits=plain.has_mark, any_columns=True, known="GSM8K"),
    Convention("verl", ("prompt",), (("reward_model",),), "reference = reward_model.ground_truth", plain.read_verl,
               known="verl, DAPO-Math-17k, Skywork-OR1 math, Skywork-OR1 code, search-R1"),
    Convention("tulu", ("messages",), (("ground_truth",),), "reference = ground_truth by dataset", texts.read_tulu,
               ("dataset",), "Tulu 3 RLVR math, Tulu 3 RLVR IF, IF-RLVR"),
    Convention("open-r1 code", _STATEMENTS, (("verification_info",),), "tests = verification_info",
               code.read_verification, known="open-r1 problems with tests"),
    Convention("synthetic", _STATEMENTS, (("verification_info",),), "reference = verification_info by task_type",
               code.read_verification, ("task_type",), "open-r1 verifiable-coding-problems, SYNTHETIC-1, SYNTHETIC-2, "
               "PrimeIntellect verifiable-coding-problems, PrimeIntellect verifiable-math-problems"),
    Convention("humaneval", ("prompt",), (("test",),), "tests = test",
               code.programs(unit_tests="test", entry_point="entry_point", setup="prompt", prompt="prompt",
                          solution="prompt + canonical_solution", ask=code.CONTINUE),
               ("entry_point",), "HumanEval, HumanEval+"),
    Convention("leetcode", ("query > problem_description",), (("test",),), "tests = test",
               code.programs(unit_tests="test", entry_point="entry_point", setup="prompt", solution="completion",
                          ask=code.AS_IT_IS),
               ("entry_point", "query|problem_description"), "LeetCodeDataset"),
    Convention("kodcode", ("question",), (("test",),), "tests = test",
               code.programs(unit_tests="test", solution="solution", ask=code.BLOCK), ("test_info|gpt_difficulty",),
               "KodCode"),
    Convention("mbpp", ("text", "prompt"), (("test_list",),), "tests = test_list",
               code.programs(unit_tests="test | test_list", setup="test_imports + test_setup_code", solution="code",
                          ask=code.ASSERTIONS),
               known="MBPP, MBPP sanitized, MBPP+"),
    Convention("apps", ("question", "problem"), (("input_output",),), "tests = input_output",
               code.programs("input_output"), known="APPS, TACO"),
    Convention("deepcoder", ("problem", "question"), (("tests",),), "tests = tests",
               code.programs("tests", metadata="metadata"),
               known="DeepCoder taco, DeepCoder primeintellect, DeepCoder codeforces, DeepCoder lcbv5"),
    Convention("livecodebench", ("question_content",), (("private_test_cases",), ("public_test_cases",)),
               "tests = public_test_cases and private_test_cases",
               code.programs(test_cases="public_test_cases + private_test_cases", metadata="metadata"),
               ("public_test_cases",),
               "LiveCodeBench stdin, LiveCodeBench functional, LiveCodeBench with tests as JSON"),
    Convention("codeforces", ("prompt > description",), (("official_tests",),), "tests = official_tests",
               code.programs(test_cases="official_tests", checker="generated_checker", language="language",
                          interactor="interaction_format", input_mode="input_mode"),
               ("input_mode|description",), "open-r1/codeforces, open-r1/codeforces with prompts"),
    Convention("code_contests", ("description",), (("private_tests",), ("public_tests",)),
               "tests = public_tests, private_tests, generated_tests",
               code.programs(inputs="public_tests.input + private_tests.input + generated_tests.input",
                          outputs="public_tests.output + private_tests.output + generated_tests.output",
                          input_file="input_file", output_file="output_file"),
               ("public_tests",), "deepmind/code_contests"),
    Convention("rstar", ("question",), (("inputs",),), "tests = inputs, outputs",
               code.programs(inputs="inputs", outputs="outputs", fn_name="func_name"), ("outputs",), "rStar-Coder"),
    Convention("multiple choice", ("question", "question_stem", "prompt", "problem"),
               (("answer", "answerKey"), ("answer_index", "answer_idx")), _LETTER, choice.read_choice, _OPTIONS,
               "MMLU, MMLU-Pro, ARC, CommonsenseQA, OpenBookQA, MedQA, SuperGPQA"),
    Convention("mmlu-redux", ("question",), (("answer",),), "reference = {answer} or correct_answer as a letter",
               choice.read_redux, (*_OPTIONS, "error_type"), "MMLU-Redux"),
    Convention("gpqa", ("Question", "question"), (("Correct Answer",),), f"{_LETTER}, options shuffled",
               choice.shuffled(*_WRONG), _WRONG, "GPQA"),
    Convention("c-eval", ("question", "Question"), (("answer", "Answer"),), _LETTER, choice.read_chinese,
               ("A", "B", "C", "D"), "C-Eval, CMMLU", language="zh"),
    Convention("medmcqa", ("question",), (("cop",),), _LETTER, choice.columns_of("opa", "opb", "opc", "opd"),
               ("opa", "opb", "opc", "opd"), "MedMCQA"),
    Convention("cluewsc", ("text",), (("label",),), "reference = label as a letter", choice.read_cluewsc, ("target",),
               "CLUEWSC2020, CLUEWSC2020 on the Hub", language="zh"),
    Convention("ifeval", ("prompt", "messages"), (("instruction_id_list",),),
               "constraints = instruction_id_list, kwargs", texts.read_ifeval, ("kwargs",), "IFEval"),
    Convention("drop", ("question",), (("answers_spans",),), "reference = {answer}", texts.read_drop, ("passage",),
               "DROP"),
    Convention("drop as published", ("question",), (("answer",),), "reference = {answer}", texts.read_drop,
               ("passage",), "DROP as published", fits=_is_object),
)  # fmt: skip
