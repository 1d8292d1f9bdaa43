r"""Prompts with a final answer: the project's own form, TRL's, open-r1's and MATH's, GSM8K's, verl's.

The reference is the final answer alone: what follows ``####`` (Cobbe et al. 2021, GSM8K), what the last ``\boxed{}``
holds (Hendrycks et al. 2021, MATH), or the field as it is. Left out: whether it can be read (``rewards``).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from thinkery.problems.conventions.base import Convention, Fields, Task, prompt_of, reference_of, shown

_BRACES = re.compile(
    r"(?P<box>\\(?:boxed|fbox|framebox)\s*(?:\{|(?P<bare>\d|[A-Za-z](?![A-Za-z]))))|\\.|[{}]", re.DOTALL
)
_CODE_SETS = ("apps", "codecontests", "codeforces", "taco")  # data_source values that verl grades by running code
_ANSWERS = (("answer", "final_answer", "ground_truth", "reference"), ("solution",))


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


def _read_plain(fields: Fields) -> Task:
    prompt = prompt_of(fields)
    if fields.verifier == NONE and fields.values.get(fields.answer) is None:
        return Task(prompt, "", NONE)
    if fields.verifier == "code" and isinstance(fields.values.get(fields.answer), dict | list):
        return Task(prompt, json.dumps(fields.take(fields.answer), default=str), "code")
    worked = fields.values.get(fields.answer)
    reference = reference_of(fields)
    boxed = last_box(reference) if fields.verifier in (None, "math") and len(reference) < 1 << 20 else None
    if boxed is None:
        return Task(prompt, reference, "math")
    return Task(prompt, boxed, "math", {"solution": worked} if worked != f"\\boxed{{{boxed}}}" else {})


def _read_gsm8k(fields: Fields) -> Task:
    prompt = prompt_of(fields)
    worked = fields.text(fields.answer)
    final = _after_mark(worked)
    if final is None:
        raise fields.error(fields.answer, f"must end in #### and the final answer, as the first row's: {shown(worked)}")
    return Task(prompt, final, "math", {"solution": worked})


def _after_mark(worked: str) -> str | None:
    _, marked, final = worked.rpartition("####")
    final = final.strip()
    return final if marked and final and "\n" not in final else None


def _has_mark(values: Mapping[str, Any], answer: str) -> bool:
    worked = values[answer]
    return isinstance(worked, str) and _after_mark(worked) is not None


def _read_verl(fields: Fields) -> Task:
    prompt = prompt_of(fields)
    model = fields.take("reward_model")
    if not isinstance(model, dict):
        raise fields.error("reward_model", f"must be an object with style and ground_truth, not {shown(model)}")
    style = model.get("style")
    if style not in ("rule", None):
        raise fields.error("reward_model", f"has the style {style!r}; only rule can be checked")
    source = str(fields.values.get("data_source", ""))
    is_code = fields.values.get("ability") == "code" or source in _CODE_SETS
    truth = Fields(fields.place, {"ground_truth": model.get("ground_truth")}, "", "ground_truth")
    if is_code and isinstance(truth.values["ground_truth"], dict | list):
        return Task(prompt, json.dumps(truth.take("ground_truth"), default=str), "code")
    return Task(prompt, reference_of(truth), "code" if is_code else "math")


_PROMPTS = ("prompt", "question", "problem")
PLAIN = Convention("plain", _PROMPTS, _ANSWERS, "reference = {answer}", _read_plain, any_columns=True)
GSM8K = Convention(
    "gsm8k", _PROMPTS, (("answer",),), "reference = {answer} after ####", _read_gsm8k,
    fits=_has_mark, any_columns=True, over=("plain",),
)  # fmt: skip
VERL = Convention(
    "verl", ("prompt",), (("reward_model",),), "reference = reward_model.ground_truth", _read_verl, over=("plain",)
)
