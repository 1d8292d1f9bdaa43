"""Answers that are texts, and instructions that rules can check: DROP, IFEval, Tulu's RLVR sets.

Spans of text become the reference of the verifier ``f1``: JSON text, a list of right answers, each a list of its
spans. Instructions become the column ``constraints`` of the verifier ``instruction``; IFEval's keep their names
(``length_constraints:number_words``) and their fields. Left out: comparing and checking (``rewards``).
"""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping, Sequence
from typing import Any

from thinkery.problems.conventions.base import Fields, ParsedRow, prompt_of, reference_of, shown
from thinkery.problems.conventions.code import tests_of, written

CONSTRAINTS = "constraints"
_ASK_SPAN = "Answer with a number, a date or words of the passage, as short as they can be."
# open-instruct's functions -> IFEval's instruction, and its fields there. N of a function means "exactly" where IFEval
# says "at least" or "less than", so those become rules of this project.
_FUNCTIONS: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "verify_keywords": ("keywords:existence", {"keyword_list": "keywords"}),
    "verify_keyword_frequency": ("keywords:frequency", {"word": "keyword", "N": "frequency"}),
    "validate_forbidden_words": ("keywords:forbidden_words", {"forbidden_words": "forbidden_words"}),
    "verify_letter_frequency": ("keywords:letter_frequency", {"letter": "letter", "N": "let_frequency"}),
    "validate_response_language": ("language:response_language", {"language": "language"}),
    "verify_paragraph_count": ("length_constraints:number_paragraphs", {"N": "num_paragraphs"}),
    "validate_word_constraint": ("length_constraints:number_words", {"N": "num_words", "quantifier": "relation"}),
    "verify_sentence_constraint": (
        "length_constraints:number_sentences", {"N": "num_sentences", "quantifier": "relation"}),
    "validate_paragraphs": (
        "length_constraints:nth_paragraph_first_word",
        {"N": "num_paragraphs", "i": "nth_paragraph", "first_word": "first_word"}),
    "verify_postscript": ("detectable_content:postscript", {"postscript_marker": "postscript_marker"}),
    "validate_placeholders": ("detectable_content:number_placeholders", {"N": "num_placeholders"}),
    "verify_bullet_points": ("detectable_format:number_bullet_lists", {"N": "num_bullets"}),
    "validate_title": ("detectable_format:title", {}),
    "validate_choice": ("detectable_format:constrained_response", {"options": "options"}),
    "validate_highlighted_sections": ("detectable_format:number_highlighted_sections", {"N": "num_highlights"}),
    "validate_sections": (
        "detectable_format:multiple_sections", {"N": "num_sections", "section_splitter": "section_spliter"}),
    "validate_json_format": ("detectable_format:json_format", {}),
    "validate_repeat_prompt": ("combination:repeat_prompt", {"original_prompt": "prompt_to_repeat"}),
    "validate_two_responses": ("combination:two_responses", {}),
    "validate_uppercase": ("change_case:english_capital", {}),
    "validate_lowercase": ("change_case:english_lowercase", {}),
    "validate_frequency_capital_words": (
        "change_case:capital_word_frequency", {"N": "capital_frequency", "quantifier": "capital_relation"}),
    "validate_end": ("startend:end_checker", {"end_phrase": "end_phrase"}),
    "validate_quotation": ("startend:quotation", {}),
    "validate_no_commas": ("punctuation:no_comma", {}),
}  # fmt: skip
_EXACTLY = {"keywords:frequency": "relation", "keywords:letter_frequency": "let_relation"}


def read_ifeval(fields: Fields) -> ParsedRow:
    """``instruction_id_list`` with the fields of each in ``kwargs``."""
    prompt = prompt_of(fields)
    return ParsedRow(prompt, "", "instruction", {CONSTRAINTS: _ifeval(fields, "instruction_id_list", "kwargs")})


def _ifeval(fields: Fields, names: str, arguments: str) -> list[dict[str, Any]]:
    listed, given = fields.json(names), fields.json(arguments)
    if not isinstance(listed, list) or not listed or not all(isinstance(name, str) for name in listed):
        raise fields.error(names, f"must be a list of IFEval's instructions, not {shown(listed)}")
    if not isinstance(given, list) or len(given) != len(listed):
        raise fields.error(arguments, f"must hold as many objects as {names}: {len(listed)}")
    if not all(one is None or isinstance(one, dict) for one in given):
        raise fields.error(arguments, "must hold objects")
    return [
        {"type": name} | {key: _whole(value) for key, value in (one or {}).items() if value is not None}
        for name, one in zip(listed, given, strict=True)
    ]


def _whole(value: Any) -> Any:
    """Whole numbers as such: parquet makes floats of them where some rows have none."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def read_tulu(fields: Fields) -> ParsedRow:
    """Tulu's RLVR sets: the column ``dataset`` says what ``ground_truth`` is, perhaps in a list of one."""
    prompt, kind = prompt_of(fields), fields.take("dataset")
    kind = kind[0] if isinstance(kind, list) and len(kind) == 1 else kind
    name = str(kind).casefold()
    if name in ("gsm8k", "math"):
        return ParsedRow(prompt, reference_of(fields), "math")
    if name.startswith("ifeval"):
        return ParsedRow(prompt, "", "instruction", {CONSTRAINTS: _instructions(fields, reference_of(fields))})
    if name == "code":
        return ParsedRow(prompt, written(tests_of(fields, fields.answer)), "code")
    if name == "string_f1":
        return ParsedRow(prompt, json.dumps([[reference_of(fields)]]), "f1")
    raise fields.error("dataset", f"is {shown(kind)}; read are gsm8k, math, ifeval, code and string_f1")


def _instructions(fields: Fields, told: str) -> list[dict[str, Any]]:
    """open-instruct's ``{"func_name": ...}``, or a list of ``{"instruction_id": [...], "kwargs": [...]}``."""
    try:
        said = json.loads(told)
    except (ValueError, RecursionError):
        try:
            said = ast.literal_eval(told)  # newer sets write Python
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            raise fields.error(fields.answer, f"must be JSON that names instructions, not {shown(told)}") from None
    if isinstance(said, dict) and str(said.get("func_name")) in _FUNCTIONS:
        name, renamed = _FUNCTIONS[said["func_name"]]
        given = {theirs: said[ours] for ours, theirs in renamed.items() if said.get(ours) is not None}
        return [{"type": name, **given, **({_EXACTLY[name]: "exactly"} if name in _EXACTLY else {})}]
    rules: list[dict[str, Any]] = []
    for one in said if isinstance(said, list) else [said]:
        if not isinstance(one, dict) or "instruction_id" not in one:
            raise fields.error(fields.answer, f"names no instruction that is known: {shown(told)}")
        rules += _ifeval(Fields(fields.place, {**one}, "", ""), "instruction_id", "kwargs")
    return rules


def read_drop(fields: Fields) -> ParsedRow:
    """A passage with a question; the answer is a number, a date or spans of text, and annotators may differ."""
    passage, question = fields.text("passage"), fields.text(fields.prompt)
    answers = _drop_answers(fields.take(fields.answer))
    others = fields.values.get("validated_answers")
    if isinstance(others, Mapping):  # a column each, as parquet keeps lists of objects
        lists = [value if isinstance(value, list) else [] for value in others.values()]
        others = [dict(zip(others, row, strict=True)) for row in zip(*lists, strict=False)]
    answers += [answer for one in others for answer in _drop_answers(one)] if isinstance(others, list) else []
    accepted = [list(one) for one in dict.fromkeys(tuple(answer) for answer in answers if answer)]
    if not accepted:
        raise fields.error(fields.answer, "holds no number, no date and no spans")
    prompt = f"{passage.strip()}\n\n{question.strip()}\n\n{_ASK_SPAN}"
    return ParsedRow(prompt, json.dumps(accepted), "f1")


def _drop_answers(answer: Any) -> list[Sequence[str]]:
    """What one annotation accepts: a number, a date, or spans that belong together.

    On the Hub DROP holds what several people said as one list, with a type each: their numbers are alternatives.
    """
    if not isinstance(answer, Mapping):
        return [[str(answer)]] if isinstance(answer, str | int | float) and str(answer).strip() else []
    if str(answer.get("number") or "").strip():
        return [[str(answer["number"]).strip()]]
    listed, types = answer.get("spans"), answer.get("types")
    spans = [str(span) for span in dict.fromkeys(map(str, listed)) if span.strip()] if isinstance(listed, list) else []
    if spans and isinstance(types, list) and "span" not in types:
        return [[span] for span in spans]
    date = answer.get("date")
    parts = (
        [str(date.get(part) or "").strip() for part in ("day", "month", "year")] if isinstance(date, Mapping) else []
    )
    return [spans] if spans else [[" ".join(filter(None, parts))]] if any(parts) else []
