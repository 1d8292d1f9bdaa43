"""Equality of mathematical expressions with math-verify. Runs in worker processes only: it may hang, or eat memory.

Tightened where math-verify accepts too much: numbers must agree to a relative tolerance (its own is absolute, so
2^-99 passes for 2^-98). Left out: everything that needs no computer algebra, which ``rewards.math`` settles before.
"""

from __future__ import annotations

import logging
import re
from typing import Any

import sympy  # type: ignore[import-untyped]
from math_verify import LatexExtractionConfig, parse, verify  # type: ignore[import-untyped]

from thinkery.types import Outcome

RELATIVE_TOLERANCE = 1e-6

logging.getLogger("math_verify").setLevel(logging.CRITICAL)  # warns that we run it without its own signal-based timeout

_POWER = re.compile(r"\^\(((?:[^()]|\([^()]*\))*)\)")
_LATEX = LatexExtractionConfig(boxed_match_priority=-1)  # the box is already opened


def judge(answer: str, reference: str) -> dict[str, str | None]:
    """Compares two cleaned expressions; returns the fields of a Verdict. Never raises."""
    gold = _parse(reference)
    if gold is None:
        return _verdict(Outcome.GOLD_UNPARSEABLE, f"cannot read the reference {reference!r}", None)
    given = _parse(answer)
    if given is None:
        return _verdict(Outcome.WRONG, "cannot read the answer", answer)
    try:
        equal = verify([gold], [given], timeout_seconds=None) and _close(gold, given)
        return _verdict(Outcome.CORRECT if equal else Outcome.WRONG, "" if equal else "differs", _canonical(given))
    except MemoryError:
        return _verdict(Outcome.TIMEOUT, "out of memory", None)
    except Exception as error:  # sympy fails in many ways on nonsense; none of them makes the answer right
        return _verdict(Outcome.WRONG, f"not comparable ({type(error).__name__})", answer)


def _verdict(outcome: Outcome, reason: str, answer: str | None) -> dict[str, str | None]:
    return {"outcome": outcome.value, "reason": reason, "answer": answer}


def _parse(text: str) -> Any:
    """The expression (a sympy object: sympy carries no types), or None."""
    while text != (braced := _POWER.sub(r"^{\1}", text)):  # 2^(1/2), which LaTeX would read as 2^( 1/2)
        text = braced
    found = parse(f"${text}$", [_LATEX], fallback_mode="no_fallback", parsing_timeout=None)
    return found[0] if found else None


def _close(gold: Any, given: Any) -> bool:
    """Whether two numbers agree relatively; True for what is no number, where math-verify's own word stands."""
    if not (isinstance(gold, sympy.Expr) and isinstance(given, sympy.Expr) and gold.is_number and given.is_number):
        return True
    gold_value, given_value = sympy.N(gold, 30), sympy.N(given, 30)
    return bool(abs(gold_value - given_value) <= RELATIVE_TOLERANCE * abs(gold_value))


def _canonical(expression: Any) -> str:
    """One text for equal expressions, as far as sympy's simplification reaches."""
    return str(sympy.simplify(expression) if isinstance(expression, sympy.Expr) else expression)


judge(
    r"\frac{x}{2}", r"\sqrt{2}"
)  # loads the grammar, most of a second, on the start's deadline and not on a verdict's
