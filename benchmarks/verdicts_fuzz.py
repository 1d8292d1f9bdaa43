r"""Edits of public references, and a second opinion on what they are worth: no wrong one may be accepted.

An edit changes a digit, a sign, an operator, a letter, an index or a bracket. Whether it is wrong is decided without
the verifier's code: a small translator writes LaTeX as Python, mpmath evaluates it at random points, outer brackets
and commas are compared as text. What the translator cannot write, or what keeps its value, is passed over. Where
math-verify accepts an edit that we refuse, the reason goes into a table. Left out: edits of words.
"""

from __future__ import annotations

import json
import random
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Any

import mpmath
from rewards_math import DATA, THOUGHT

from thinkery.rewards.math import JUDGE, submit_math
from thinkery.rewards.workers.pool import ProcessPool
from thinkery.types import Verdict

EDITS = 20_000
_NAMES = {"sin", "cos", "tan", "cot", "sec", "csc", "log", "ln", "exp", "sqrt", "pi", "floor", "ceil"}
_SPACE = {
    "sin": mpmath.sin, "cos": mpmath.cos, "tan": mpmath.tan, "cot": mpmath.cot, "sec": mpmath.sec, "csc": mpmath.csc,
    "ln": mpmath.log, "log": mpmath.log, "exp": mpmath.exp, "sqrt": mpmath.sqrt,
    "root": lambda n, x: mpmath.mpf(x) ** (1 / mpmath.mpf(n)),
    "floor": mpmath.floor, "ceil": mpmath.ceil, "fact": mpmath.factorial, "binom": mpmath.binomial, "absolute": abs,
    "mpf": mpmath.mpf, "pi": mpmath.pi, "__builtins__": {},
}  # fmt: skip
_OPERATORS = ("+", "-", r"\cdot", "/")
_GREEK = ("alpha", "beta", "theta", "phi", "lambda", "mu", "omega")


def references() -> list[str]:
    """The references of MATH-500, AIME and GSM8K, and expressions of kinds that are rare among them."""
    golds = [row["answer"] for name in ("rllm_math.json", "rllm_aime.json")
             for row in json.loads((DATA / name).read_text(encoding="utf-8"))]  # fmt: skip
    rows = (DATA / "gsm8k_test.jsonl").read_text(encoding="utf-8").splitlines()
    golds += [json.loads(row)["answer"].rpartition("####")[2].strip() for row in rows]
    return list(dict.fromkeys([*golds, *RARE]))


# Kinds that public references have seldom, in our own words.
RARE = (
    r"2^{1999}-1", r"\frac{3^{101}-1}{2}", r"1-\frac{1}{2^{150}}", r"60!+1", r"\binom{40}{17}", r"10^{45}+3",
    r"\lfloor \frac{n}{3} \rfloor", r"\lceil \frac{m}{12} \rceil", r"\frac{abc}{ab+bc+ca}", r"2mgh",
    r"\frac{kq_1q_2}{r^2}",
    r"\sqrt{3+2\sqrt{2}}", r"\sqrt{5}+\sqrt{7}", r"\frac{\pi^2}{12}", r"e^{3}-e^{-2}", r"\ln 7-\ln 3",
    r"4\sin 3x\cos 2x",
    r"x^4-3x^2+7", r"\frac{2x-1}{x^2+4}", r"(x-3)(x+8)", r"a_1+2a_2", r"x_{3}-x_{1}", r"3+4i", r"\frac{1-2i}{5}",
    r"(3, -5)", r"[2, 9)", r"(-\infty, 4)\cup(7, \infty)", r"\{1, 4, 6\}", r"-3, 8", r"x=7", r"y=3x-4", r"x^2+y^2=16",
    r"3x-4y+2=0", r"x<-2", r"1\le x<6", r"\begin{pmatrix} 1 & 2 \\ 3 & 5 \end{pmatrix}", r"1:2:5", r"12\text{ cm}",
    r"45^\circ",
    r"72\%", r"0.625", r"3\frac{1}{4}", r"\frac{n(n+1)(2n+1)}{6}", r"\sqrt[3]{12}", r"|x-3|+|x+1|", r"2\pi r h",
    r"m+n-\gcd(m,n)",
)  # fmt: skip


def edits(reference: str, rng: random.Random) -> Iterator[str]:
    """Random edits of a reference, each in one place or in two."""
    while True:
        edited: str | None = reference
        for _ in range(rng.choice((1, 1, 2))):
            kind = rng.choice(("digit", "digit", "sign", "operator", "letter", "index", "bracket"))
            edited = _EDITS[kind](edited or reference, rng) or edited
        if edited is not None and edited != reference:
            yield edited


def _one(pattern: str, text: str, rng: random.Random, change: Callable[[re.Match[str]], str]) -> str | None:
    places = list(re.finditer(pattern, text))
    if not places:
        return None
    match = rng.choice(places)
    return text[: match.start()] + change(match) + text[match.end() :]


_EDITS: dict[str, Callable[[str, random.Random], str | None]] = {
    "digit": lambda text, rng: _one(r"\d", text, rng, lambda m: rng.choice("0123456789".replace(m[0], ""))),
    "sign": lambda text, rng: _one(r"-|(?<![\w\\}])(?=\d)", text, rng, lambda m: "" if m[0] else "-"),
    "operator": lambda text, rng: _one(
        r"[+\-/](?=.)|\\cdot", text, rng, lambda m: rng.choice([o for o in _OPERATORS if o != m[0]]) + " "
    ),
    "letter": lambda text, rng: _one(
        r"(?<![A-Za-z\\])[a-zA-Z](?![A-Za-z])", text, rng, lambda m: rng.choice("abcdkmnpqrstuxyz".replace(m[0], ""))
    ),
    "index": lambda text, rng: _one(
        r"(?<=[_^]\{)\d|(?<=[_^])\d", text, rng,
        lambda m: str((int(m[0]) + rng.randrange(1, 9)) % 10),
    ),
    "bracket": lambda text, rng: _one(r"[()\[\]]", text, rng, lambda m: {"(": "[", ")": "]", "[": "(", "]": ")"}[m[0]]),
}  # fmt: skip


class UntranslatableError(Exception):
    """The translator cannot write the text as Python."""


@lru_cache(maxsize=4096)
def worth(text: str, seed: int) -> Any:
    """What a text is worth by the second opinion: numbers at random points in the order of its outer form."""
    text = (
        re.sub(r"\\(?:left|right|!|,|;|displaystyle)|\s+", " ", text).replace("dfrac", "frac").replace("tfrac", "frac")
    )
    text = (
        re.sub(
            r"(?<=\d),\s?(?=\d{3}(?!\d))",
            "",
            re.sub(r"\\(?:text|mbox)\{[^{}]*\}(?:\^\d)?|\^\\circ|\^\{\\circ\}|\\?%|\\\$|(?<!\\)\$", "", text),
        )
        .strip()
        .rstrip(".")
    )
    if matrix := re.fullmatch(r"\\begin\{[pb]matrix\}(.*)\\end\{[pb]matrix\}", text):
        rows = matrix[1].split(r"\\")
        return ("matrix", [[_number(cell, seed) for cell in row.split("&")] for row in rows if row.strip()])
    if r"\cup" in text:
        return ("union", [worth(part, seed) for part in text.split(r"\cup")])
    signs = re.findall(r"=|<|>|\\(?:le|ge|leq|geq|in)(?![a-z])", text)
    if signs:
        sides = re.split(r"=|<|>|\\(?:le|ge|leq|geq|in)(?![a-z])", text)
        if signs == ["="]:
            return ("equation", [_number(sides[0], s) - _number(sides[1], s) for s in range(seed, seed + 3)])
        return ("relation", signs, [worth(side, seed) for side in sides])
    bracketed = re.fullmatch(r"(\\\{|[(\[])(.*)(\\\}|[)\]])", text)
    parts = _split(bracketed[2] if bracketed else text)
    if len(parts) > 1:
        kind = (bracketed[1], bracketed[3]) if bracketed else ("", "")
        if len(parts) > 2 and kind == ("[", "]"):
            kind = ("(", ")")  # a vector in either brackets
        values = [worth(part, seed) for part in parts]
        return (kind, values if kind[0] in ("(", "[") else sorted(values, key=str))
    if base := re.fullmatch(r"(\d+)_\{?(\d+)\}?", text):
        return ("base", base[1], base[2])
    if ":" in text:
        ratio = [_number(part, seed) for part in text.split(":")]
        return ("ratio", [one / ratio[0] for one in ratio])
    return _number(text, seed)


def _split(text: str) -> list[str]:
    parts, depth = [""], 0
    for sign in text:
        depth += (sign in "({[") - (sign in ")}]")
        if sign == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += sign
    return parts


def _number(text: str, seed: int) -> Any:
    """The value of one expression, every letter (with its index) a random number."""
    code = _python(text.strip())
    whole = "floor" in code or "ceil" in code
    names = sorted(set(re.findall(r"v_[A-Za-z0-9_]+", code)))
    drawn = {name: random.Random(f"{seed}{name}") for name in names}
    space: dict[str, Any] = dict(_SPACE)
    for name in names:
        space[name] = (
            mpmath.mpf(drawn[name].randrange(40, 4000))
            if whole
            else mpmath.mpf(drawn[name].randrange(2000, 9000)) / 1009
        )
    space["I"] = mpmath.mpc(0, 1)
    with mpmath.workdps(_precision(code)):
        try:
            return eval(code, space)
        except Exception as error:
            raise UntranslatableError(str(error)) from error


def _precision(code: str) -> int:
    """Digits enough for the powers and factorials that a code holds."""
    return 1300 if re.search(r"fact|binom|\*\*\(?-?mpf\('\d{2,}", code) else 80


def _python(text: str) -> str:
    """LaTeX as Python: braces become brackets, what stands side by side a product."""
    if not text or re.search(r"\\(?:gcd|overline|sum|int|pm|mp|bmod|equiv|mathbb|infty)|!!|\?|'", text):
        raise UntranslatableError(text)
    for pattern, replacement in (
        (r"\\lfloor", " floor("), (r"\\lceil", " ceil("), (r"\\rfloor|\\rceil", ")"), (r"\\(?:cdot|times)", "*"),
        (r"\\sqrt\s*\[(\d+)\]\s*\{", r" root(\1,"), (r"\\sqrt\s*(\d|[a-z])", r" sqrt(\1)"), (r"\\sqrt", " sqrt"),
        (r"\|([^|]*)\|", r" absolute(\1)"),
        (r"(?<=[0-9])\s*\\frac\s*\{?(\d)\}?\s*\{?(\d+)\}?(?![a-z\\])", r"+(mpf(\1)/mpf(\2))"),
        (r"\\(sin|cos|tan|cot|ln|log)\s*(\d*[a-z])(?![a-z(])", r" \1(\2)"),
        (r"\\(sin|cos|tan|cot|sec|csc|ln|log|exp|pi)", r" \1 "),
        (r"\\(?:ln|log)\s+(\d+)", r" ln(\1)"),
    ):  # fmt: skip
        text = re.sub(pattern, replacement, text)
    text = re.sub(r" (ln|log|sin|cos|tan)  ?(\d+)", r" \1(\2)", text)
    text = _fractions(text)
    text = (
        re.sub(r"\\(" + "|".join(_GREEK) + r")(?![a-z])", r" \1 ", text)
        .replace("{", "(")
        .replace("}", ")")
        .replace("^", "**")
    )
    tokens = re.findall(r"\d+\.?\d*|\.\d+|[A-Za-z]+(?:_\(?\w+\)?)?|\*\*|[-+*/(),!]|\S", text)
    return _joined(tokens)


def _fractions(text: str) -> str:
    text = re.sub(r"\\(?:frac|binom)\s*(\d)\s*(\d)", lambda m: m[0].replace(m[1] + m[2], f"{{{m[1]}}}{{{m[2]}}}"), text)
    text = re.sub(r"\\frac\s*(\d)\s*(?=\{)", r"\\frac{\1}", re.sub(r"(\\frac\s*\{[^{}]*\})\s*(\d)", r"\1{\2}", text))
    while match := re.search(r"\\(frac|binom)\s*\{", text):
        first = _closing(text, match.end())
        if text[first + 1 : first + 2] != "{":
            raise UntranslatableError(text)
        second = _closing(text, first + 2)
        top, bottom = text[match.end() : first], text[first + 2 : second]
        made = f"(({top})/({bottom}))" if match[1] == "frac" else f" binom({top},{bottom})"
        text = text[: match.start()] + made + text[second + 1 :]
    return text


def _closing(text: str, at: int) -> int:
    depth = 1
    for position in range(at, len(text)):
        depth += (text[position] == "{") - (text[position] == "}")
        if depth == 0:
            return position
    raise UntranslatableError(text)


def _joined(tokens: Sequence[str]) -> str:
    code: list[str] = []
    ends_factor = False
    for token in tokens:
        pieces = [token]
        if token[0].isalpha() and token not in _NAMES | {"root", "absolute", "binom", "mpf"} and token not in _GREEK:
            pieces = re.findall(r"[A-Za-z](?:_\(?\w+\)?)?", token)
        for piece in pieces:
            starts = piece[0].isalnum() or piece in ("(", ".")
            if starts and ends_factor:
                code.append("*")
            if piece[0].isdigit() or piece[0] == ".":
                code.append(f"mpf('{piece}')")
            elif piece == "!":
                code[-1] = f"fact({code[-1]})"
                continue
            elif piece[0].isalpha() and piece not in _NAMES | {"root", "absolute", "binom", "mpf"}:
                name = re.sub(r"\W", "", piece)
                code.append("mpmath_e" if name == "e" else "I" if name == "i" else f"v_{name}")
            elif piece in ("**", "+", "-", "*", "/", "(", ")", ",") or piece.isalpha():
                code.append(piece)
            else:
                raise UntranslatableError(piece)
            ends_factor = piece == ")" or (
                piece[0].isalnum() and piece not in _NAMES - {"pi"} | {"root", "absolute", "binom", "mpf"}
            )
    return "".join(code).replace("mpmath_e", "exp(1)")


def same_worth(one: Any, other: Any) -> bool:
    """Whether two worths are equal to 25 digits beyond what their sizes need."""
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        if one and one[0] == "equation" == (other[0] if other else None):
            quotients = [a / b if b else None for a, b in zip(one[1], other[1], strict=True)]
            return None not in quotients and all(abs(q - quotients[0]) < 1e-20 for q in quotients)
        return len(one) == len(other) and all(same_worth(a, b) for a, b in zip(one, other, strict=True))
    if (
        isinstance(one, str)
        or isinstance(other, str)
        or isinstance(one, list | tuple) != isinstance(other, list | tuple)
    ):
        return bool(one == other)
    with mpmath.workdps(1300):
        return bool(abs(one - other) < mpmath.mpf(10) ** -50)


def wrong_edits(golds: Sequence[str], count: int, seed: int) -> Iterator[tuple[str, str]]:
    """Pairs of an edit and its reference that the second opinion calls different."""
    rng = random.Random(seed)
    seen: set[tuple[str, str]] = set()
    makers = [(gold, edits(gold, rng)) for gold in golds if re.search(r"\d|(?<![a-z])[a-z](?![a-z])", gold)]
    failures: Counter[str] = Counter()
    while len(seen) < count:
        gold, maker = rng.choice(makers)
        if failures[gold] > 60:
            makers = [one for one in makers if one[0] != gold]
            if not makers:
                return
            continue
        edited = next(maker)
        if (edited, gold) in seen:
            failures[gold] += 1
            continue
        try:
            if same_worth(worth(edited, 5), worth(gold, 5)) and same_worth(worth(edited, 77), worth(gold, 77)):
                failures[gold] += 1
                continue
        except (UntranslatableError, ZeroDivisionError, ValueError, IndexError):
            failures[gold] += 1
            continue
        seen.add((edited, gold))
        yield edited, gold


def accepted(pairs: Sequence[tuple[str, str]], workers: int = 2) -> list[tuple[str, str]]:
    """The pairs that the verifier accepts."""
    pool = ProcessPool(JUDGE, workers=workers, deadline_s=10.0)
    try:
        begun = [(pair, submit_math(THOUGHT + f"\\boxed{{{pair[0]}}}", pair[1], pool)) for pair in pairs]
        return [pair for pair, one in begun if (one if isinstance(one, Verdict) else one.result()).correct]
    finally:
        pool.close()


def by_math_verify(pairs: Sequence[tuple[str, str]]) -> list[bool]:
    """What math-verify says of answers (in a box), or whole completions, and references."""
    from math_verify import ExprExtractionConfig, LatexExtractionConfig, parse, verify

    def one(pair: tuple[str, str]) -> bool:
        config = [LatexExtractionConfig(boxed_match_priority=0), ExprExtractionConfig()]
        try:
            texts = [text if "</think>" in text else f"\\boxed{{{text}}}" for text in pair]
            answer, gold = (parse(text, config, parsing_timeout=2) for text in texts)
            return bool(verify(gold, answer, timeout_seconds=2))
        except Exception:
            return False

    return [one(pair) for pair in pairs]


def reason(answer: str, reference: str) -> str:
    """Why we refuse what math-verify accepts, by the kind of the edit."""
    for name, pattern in (
        ("unit or percent sign compared", r"\\text|\\mbox|%|\\circ|\\\$"),
        ("interval ends or brackets compared", r"[\[\]]"),
        ("huge or tiny difference within its rounding", r"\d{12,}|\^\{?\d{2,}|!|\\binom"),
        ("equation or inequality compared", r"[=<>]|\\[lg]e"),
        ("order or number of items", r","),
    ):  # fmt: skip
        if re.search(pattern, reference + answer):
            return name
    return "value differs beyond its rounding to six decimals, or a sign it passes over"


def measure(count: int = EDITS) -> tuple[dict[str, float], list[dict[str, str]]]:
    """The figures, and the table of what math-verify accepts of the wrong edits."""
    pairs = list(wrong_edits(references(), count, seed=11))
    taken = accepted(pairs)
    for pair in taken:
        print(f"accepted {pair[0]!r} for {pair[1]!r}", file=sys.stderr)
    theirs = by_math_verify(pairs)
    ours = set(taken)
    table = [{"answer": a, "reference": r, "reason": reason(a, r)} for (a, r), yes in zip(pairs, theirs, strict=True)
             if yes and (a, r) not in ours]  # fmt: skip
    return {"edits": len(pairs), "edits_accepted": len(taken), "edits_accepted_by_mathverify": sum(theirs)}, table


if __name__ == "__main__":
    number = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    chosen = list(wrong_edits(references(), number, seed=int(sys.argv[2]) if len(sys.argv) > 2 else 3))
    print(len(chosen), "edits")
    for found in accepted(chosen):
        print("ACCEPTED", found)
