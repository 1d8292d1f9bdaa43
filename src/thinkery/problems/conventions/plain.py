r"""Prompts with a final answer: the project's own form, TRL's, open-r1's and MATH's, NuminaMath's, GSM8K's, verl's.

The reference is the final answer alone: what follows ``####`` (Cobbe et al. 2021, GSM8K), what the last ``\boxed{}``
holds (Hendrycks et al. 2021, MATH), or the field as it is. Left out: whether it can be read (``rewards``).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from thinkery.problems.conventions.base import Fields, ParsedRow, prompt_of, reference_of, shown
from thinkery.problems.conventions.code import tests_of, written

_BRACES = re.compile(
    r"(?P<box>\\(?:boxed|fbox|framebox)\s*(?:\{|(?P<bare>\d|[A-Za-z](?![A-Za-z]))))|\\.|[{}]", re.DOTALL
)
_CODE_SETS = ("apps", "codecontests", "codeforces", "taco")  # data_source values that verl grades by running code
_PROSE = 200  # characters: a solution that long, or of several lines, is a derivation and no answer
_NO_ANSWER = ("proof", "notfound")  # what NuminaMath writes where there is no final answer

NONE = "none"  # the verifier of prompts that no rule can check; they may come without an answer


def last_box(text: str) -> str | None:
    r"""What the last balanced ``\boxed{}`` of a worked solution holds (of nested ones the outermost), or None.

    ``\boxed 5`` and ``\framebox{204}`` count as well: both occur in MATH and AIME.
    """
    open_braces: list[tuple[int, bool]] = []
    best: tuple[int, int] | None = None
    for match in _BRACES.finditer(text):
        if match["bare"]:
            best = match.span("bare")
        elif match["box"] or match.group() == "{":
            open_braces.append((match.end(), match["box"] is not None))
        elif match.group() == "}" and open_braces:
            start, is_box = open_braces.pop()
            if is_box:
                best = start, match.start()
    return None if best is None else text[best[0] : best[1]].strip()


def read_plain(fields: Fields) -> ParsedRow:
    """An answer as it is, or what the last box of a worked solution holds."""
    prompt = prompt_of(fields)
    if fields.verifier == NONE and fields.values.get(fields.answer) is None:
        return ParsedRow(prompt, "", NONE)
    if fields.verifier == "code" and isinstance(fields.values.get(fields.answer), dict | list):
        return ParsedRow(prompt, json.dumps(fields.take(fields.answer), default=str), "code")
    if fields.verifier == "f1" and isinstance(fields.values.get(fields.answer), list):  # each of them is right
        accepted = [[str(one)] for one in fields.take(fields.answer)]
        return ParsedRow(prompt, json.dumps(accepted), "f1")
    worked = fields.values.get(fields.answer)
    reference = reference_of(fields)
    math = fields.verifier in (None, "math")
    boxed = last_box(reference) if math and len(reference) < 1 << 20 else None
    if boxed is not None:
        return ParsedRow(prompt, boxed, "math", {"solution": worked} if worked != f"\\boxed{{{boxed}}}" else {})
    if math and fields.answer == "solution" and ("\n" in reference.strip() or len(reference) > _PROSE):
        raise fields.error(
            "solution", r"has no \boxed{} around its final answer, so what is right can't be told; write the answer in "
            "a column of its own, such as answer"
        )  # fmt: skip
    return ParsedRow(prompt, reference, "math")


def read_numina(fields: Fields) -> ParsedRow:
    """NuminaMath's answer, unless the row says that there is none, or that something is wrong with it."""
    kind, answer = fields.values.get("question_type"), fields.values.get(fields.answer)
    if kind == "proof" or (isinstance(answer, str) and answer.strip().casefold() in _NO_ANSWER):
        raise fields.error(fields.answer, f"is {shown(answer)}: a problem without a final answer, which no rule checks")
    for column in ("problem_is_valid", "solution_is_valid"):
        said = fields.values.get(column)
        if isinstance(said, str) and said != "Yes":
            raise fields.error(column, f"is {shown(said)}, not 'Yes': the data set itself calls the row unusable")
    return read_plain(fields)


def read_gsm8k(fields: Fields) -> ParsedRow:
    """What follows ``####``."""
    prompt = prompt_of(fields)
    worked = fields.text(fields.answer)
    final = _after_mark(worked)
    if final is None:
        raise fields.error(fields.answer, f"must end in #### and the final answer, as the first row's: {shown(worked)}")
    return ParsedRow(prompt, final, "math", {"solution": worked})


def _after_mark(worked: str) -> str | None:
    _, marked, final = worked.rpartition("####")
    final = final.strip()
    return final if marked and final and "\n" not in final else None


def has_mark(values: Mapping[str, Any], answer: str) -> bool:
    """Whether an answer ends as GSM8K's do."""
    worked = values[answer]
    return isinstance(worked, str) and _after_mark(worked) is not None


def read_verl(fields: Fields) -> ParsedRow:
    """``reward_model.ground_truth``: an answer, the JSON text of a list of one, or tests. Styles are verl's rules."""
    prompt = prompt_of(fields)
    model = fields.take("reward_model")
    if not isinstance(model, dict):
        raise fields.error("reward_model", f"must be an object with style and ground_truth, not {shown(model)}")
    style = model.get("style")
    if style is not None and not str(style).startswith("rule"):
        raise fields.error("reward_model", f"has the style {style!r}; only rule can be checked")
    source = str(fields.values.get("data_source", ""))
    truth = Fields(fields.place, {"ground_truth": model.get("ground_truth")}, "", "ground_truth")
    if fields.values.get("ability") in ("code", "coding") or source in _CODE_SETS:
        return ParsedRow(prompt, written(tests_of(truth, "ground_truth")), "code")
    text = truth.values["ground_truth"]
    if isinstance(text, str) and text.startswith('["'):
        truth.values["ground_truth"] = truth.json("ground_truth")
    if isinstance(truth.values["ground_truth"], dict | list) and len(truth.values["ground_truth"]) != 1:
        raise truth.error("ground_truth", "holds several right answers, and one is compared with; name the verifier f1")
    if isinstance(truth.values["ground_truth"], dict):  # search-R1's {"target": [...]}
        return ParsedRow(prompt, json.dumps([[str(one)] for one in _targets(truth)]), "f1")
    return ParsedRow(prompt, reference_of(truth), "math")


def _targets(truth: Fields) -> list[Any]:
    targets = truth.take("ground_truth").get("target")
    targets = targets if isinstance(targets, list) else [targets]
    if not targets or not all(isinstance(one, str) and one.strip() for one in targets):
        raise truth.error("ground_truth", "must be an answer, or an object with target: the accepted texts")
    return targets
