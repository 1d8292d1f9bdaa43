"""The ways in which data sets write problems, declared: which columns make one up, and who reads them.

The first column is the name, the second where the prompt stands (``a > b``: b where there is no a), the third where
the answer stands, in groups. ``docs/data.md`` shows the same table to users, and ``tests/problems/layout_rows.jsonl``
holds a row of every data set under ``known``. Left out: reading (the modules beside this one), choosing (``columns``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from thinkery.problems.conventions import choice, code, plain, texts
from thinkery.problems.conventions.base import Convention

_PROMPTS = ("prompt", "question", "problem", "Problem", "Question")
_STATEMENTS = ("problem", "prompt", "problem_statement", "question")
_ANSWERS = (("answer", "final_answer", "ground_truth", "reference"), ("Answer",), ("solution",))
_QUESTIONS = ("question", "question_stem", "prompt", "problem")
_OPTIONS = ("choices|options",)
_LETTERS = ("A", "B", "C", "D")


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
               code.read_verification, ("task_type",),
               "open-r1 verifiable-coding-problems, PrimeIntellect verifiable-coding-problems, "
               "PrimeIntellect verifiable-math-problems, SYNTHETIC-1, SYNTHETIC-2"),
    Convention("humaneval", ("prompt",), (("test",),), "tests = test", code.read_humaneval, ("entry_point",),
               "HumanEval, HumanEval+"),
    Convention("leetcode", ("query > problem_description",), (("test",),), "tests = test", code.read_leetcode,
               ("entry_point", "query|problem_description"), "LeetCodeDataset"),
    Convention("kodcode", ("question",), (("test",),), "tests = test", code.read_kodcode, ("test_info|gpt_difficulty",),
               "KodCode"),
    Convention("mbpp", ("text", "prompt"), (("test_list",),), "tests = test_list", code.read_mbpp,
               known="MBPP, MBPP sanitized, MBPP+"),
    Convention("apps", ("question", "problem"), (("input_output",),), "tests = input_output",
               code.tests_in("input_output"), known="APPS, TACO"),
    Convention("deepcoder", ("problem", "question"), (("tests",),), "tests = tests",
               code.tests_in("tests", metadata="metadata"), known="DeepCoder taco, DeepCoder primeintellect, DeepCoder codeforces, DeepCoder lcbv5"),
    Convention("livecodebench", ("question_content",), (("private_test_cases",), ("public_test_cases",)),
               "tests = public_test_cases and private_test_cases", code.read_livecodebench, ("public_test_cases",),
               "LiveCodeBench stdin, LiveCodeBench functional, LiveCodeBench with tests as JSON"),
    Convention("codeforces", ("prompt > description",), (("official_tests",),), "tests = official_tests",
               code.tests_in("official_tests", checker="generated_checker", interactor="interaction_format"),
               ("input_mode|description",), "open-r1/codeforces, open-r1/codeforces with prompts"),
    Convention("code_contests", ("description",), (("private_tests",), ("public_tests",)),
               "tests = public_tests, private_tests, generated_tests", code.read_contests, ("public_tests",),
               "deepmind/code_contests"),
    Convention("rstar", ("question",), (("inputs",),), "tests = inputs, outputs", code.read_rstar, ("outputs",),
               "rStar-Coder"),
    Convention("multiple choice", _QUESTIONS, (("answer", "answerKey"), ("answer_index", "answer_idx")),
               "reference = {answer} as a letter", choice.read_choice, _OPTIONS,
               "MMLU, MMLU-Pro, ARC, CommonsenseQA, OpenBookQA, MedQA, SuperGPQA"),
    Convention("mmlu-redux", ("question",), (("answer",),), "reference = {answer} or correct_answer as a letter",
               choice.read_redux, (*_OPTIONS, "error_type"), "MMLU-Redux"),
    Convention("gpqa", ("Question", "question"), (("Correct Answer",),),
               "reference = {answer} as a letter, options shuffled", choice.read_gpqa,
               ("Incorrect Answer 1", "Incorrect Answer 2", "Incorrect Answer 3"), "GPQA"),
    Convention("c-eval", ("question", "Question"), (("answer", "Answer"),), "reference = {answer} as a letter",
               choice.read_chinese, _LETTERS, "C-Eval, CMMLU", language="zh"),
    Convention("medmcqa", ("question",), (("cop",),), "reference = {answer} as a letter",
               choice.columns_of("opa", "opb", "opc", "opd"), ("opa", "opb", "opc", "opd"), "MedMCQA"),
    Convention("cluewsc", ("text",), (("label",),), "reference = label as a letter", choice.read_cluewsc, ("target",),
               "CLUEWSC2020, CLUEWSC2020 on the Hub", language="zh"),
    Convention("ifeval", ("prompt", "messages"), (("instruction_id_list",),), "constraints = instruction_id_list, kwargs",
               texts.read_ifeval, ("kwargs",), "IFEval"),
    Convention("drop", ("question",), (("answers_spans",),), "reference = {answer}", texts.read_drop, ("passage",),
               "DROP"),
    Convention("drop as published", ("question",), (("answer",),), "reference = {answer}", texts.read_drop, ("passage",),
               "DROP as published", fits=_is_object),
)  # fmt: skip
