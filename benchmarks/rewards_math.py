"""The math verifier, measured: what it accepts, what it wrongly accepts, how fast it is, and what hangs cost.

Uses the data of GSM8K and MATH-500 in ``../shared/data``. Left out: its comparison with other verifiers.
"""

from __future__ import annotations

import json
import random
import re
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from pathlib import Path

from thinkery.models.template import TEMPLATES
from thinkery.recipe.verification import Verification
from thinkery.rewards import grade_math
from thinkery.rewards.math import MathVerifier
from thinkery.types import Outcome, Problem, Verdict

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared" / "data"
PAIRS, NUMERIC, SYMBOLIC, ANSWERS, HANGS = 20_000, 70_000, 1_500, 10_000, 100
ROUNDS = 7

THOUGHT = "<think>\nLet me see.\n</think>\n"
IN_TAG, IN_BOX, IN_TAG_SENTENCE = "<answer>%s</answer>", "\\boxed{%s}", "<answer>The answer is $%s$.</answer>"


def measure() -> dict[str, float]:
    """All figures, named as in the results file."""
    if not DATA.is_dir():
        raise SystemExit(f"the benchmark files are missing: put gsm8k_test.jsonl and rllm_math.json into {DATA}")
    gsm8k, math500 = references()
    figures: dict[str, float] = {}
    steps: Sequence[Callable[[], dict[str, float]]] = (
        lambda: {"gsm8k_accepted": accepted(gsm8k, number_renderings)},
        lambda: {"math500_accepted": accepted(math500, expression_renderings)},
        lambda: {"false_accepts_of_20000": false_accepts(gsm8k, math500)},
        numeric_speed,
        lambda: symbolic_speed(math500),
        hangs,
    )
    for step in steps:
        figures |= step()
        print(figures, file=sys.stderr)
    return figures


def references() -> tuple[list[str], list[str]]:
    """The reference answers of GSM8K and of MATH-500."""
    rows = [json.loads(line) for line in (DATA / "gsm8k_test.jsonl").read_text(encoding="utf-8").splitlines()]
    math500 = json.loads((DATA / "rllm_math.json").read_text(encoding="utf-8"))
    return [row["answer"].rpartition("####")[2].strip() for row in rows], [row["answer"] for row in math500]


def number_renderings(reference: str) -> Iterable[str]:
    """The ways of giving a whole number, after the thinking."""
    value = int(reference.replace(",", ""))
    yield reference
    for written in (reference, f"{value}", f"{value:,}", f"{value}.", f"{value}.00"):
        for form in ("%s", IN_TAG, IN_BOX, "The answer is %s.", "<answer>The answer is %s.</answer>"):
            yield form % written
    for sentence in ("In the end she has %s dollars left.", "The total is $%s every day, at the farmers' market."):
        yield sentence % f"{value:,}"
        yield IN_TAG % (sentence % f"{value:,}")


def expression_renderings(reference: str) -> Iterable[str]:
    """The ways of giving an expression, after the thinking."""
    yield from (
        IN_TAG % reference,
        IN_BOX % reference,
        IN_TAG % f"${reference}$",
        IN_TAG_SENTENCE % reference,
        f"So it is $\\boxed{{{reference}}}$.",
    )
    sized = re.sub(r"(?<!\\left)(\(|\[)", r"\\left\1", reference)
    sized = re.sub(r"(?<!\\right)(\)|\])", r"\\right\1", sized)
    yield IN_TAG % sized.replace("\\frac", "\\dfrac")
    yield IN_BOX % reference.replace("\\left", "").replace("\\right", "").replace("\\dfrac", "\\frac")
    yield IN_TAG % (reference + ".")
    yield f"The final answer is ${reference}$."


def accepted(references: Sequence[str], renderings: Callable[[str], Iterable[str]]) -> float:
    """How many references are accepted in every rendering; the others are printed."""
    count = 0
    for reference in references:
        refused = [r for r in renderings(reference) if not grade_math(THOUGHT + r, reference).correct]
        if refused:
            print(f"refused for {reference!r}: {refused}", file=sys.stderr)
        count += not refused
    return count


def value(reference: str) -> object:
    """What a reference is worth, read by other means than the verifier's: a fraction, or its bare text.

    Units, degrees, currency and the base of a number do not count: where only one side writes them they are taken for
    granted.
    """
    text = re.sub(r"\\text\{ ?[a-z]+\}|\\mbox\{.*|\^\\circ|\\\$|\\!|\\left|\\right|_\{?\d\}?$|^x=|\s", "", reference)
    text = re.sub(r"\\[dt]?frac", r"\\frac", text)
    text = re.sub(r"(?<=\d),(?=\d{3}(?!\d))", "", text)
    fraction = re.fullmatch(r"(-?)(\d*)\\frac\{?(-?\d+?)\}?\{?(\d+)\}?", text)
    if fraction:
        sign, whole, top, bottom = fraction.groups()
        return (Fraction(int(top), int(bottom)) + int(whole or 0)) * (-1 if sign else 1)
    if re.fullmatch(r"-?\d*\.?\d+", text):
        return Fraction(text)
    return ",".join(sorted(text.split(","))) if "(" not in text else text


def false_accepts(gsm8k: Sequence[str], math500: Sequence[str]) -> float:
    """Of random pairs of different values, both ways between the two files, how many are accepted; all are printed."""
    rng = random.Random(0)
    pools = (gsm8k, math500)
    wrong, count = 0, 0
    while count < PAIRS:
        answer, reference = rng.choice(rng.choice(pools)), rng.choice(rng.choice(pools))
        if value(answer) == value(reference):
            continue
        count += 1
        form = rng.choice((IN_TAG, IN_BOX, IN_TAG_SENTENCE, "The answer is %s."))
        if grade_math(THOUGHT + form % answer, reference).correct:
            print(f"accepted {answer!r} for {reference!r}", file=sys.stderr)
            wrong += 1
    return wrong


TEXT = """so we first count the eggs that are left after breakfast and then the price for each of them which gives us
what she earns in one day let me check that again because it matters"""
WORDS = TEXT.split()


def thinking(rng: random.Random) -> str:
    """About 200 words, none of them repeated from completion to completion in the same order."""
    return "<think>\n" + " ".join(rng.choices(WORDS, k=200)) + f" {rng.randrange(10**6)}\n</think>\n"


def numeric_cases(rng: random.Random, count: int) -> list[tuple[str, str, bool]]:
    """Completions with a plain number, their references, and whether they are right."""
    cases = []
    for _ in range(count):
        number, right = rng.randrange(-(10**5), 10**6), rng.random() < 0.5
        bottom = rng.choice((7, 9, 11, 13))
        given = number if right else number + rng.randrange(1, 50)
        reference, written = rng.choice(
            [
                (f"{number}", f"{given}"),
                (f"{number}", f"{given:,}"),
                (f"{number}", f"{given}.00"),
                (f"{number}", f"\\${given}"),
                (f"{number:,}", f"{given} dollars"),
                (f"\\frac{{{number * bottom + 1}}}{{{bottom}}}", f"\\frac{{{given * bottom + 1}}}{{{bottom}}}"),
                (f"{number}\\%", f"{given}%"),
                (f"{number / 8}", f"{given / 8}"),
            ]
        )
        form = rng.choice((IN_TAG, IN_BOX, "The answer is %s."))
        cases.append((thinking(rng) + form % written, reference, right))
    return cases


def numeric_speed() -> dict[str, float]:
    """Verdicts a second on one core, for plain numbers of which hardly one occurs twice; the median of ``ROUNDS``."""
    rates = []
    for number in range(ROUNDS):
        cases = numeric_cases(random.Random(number), NUMERIC // ROUNDS)
        begin = time.perf_counter()
        verdicts = [grade_math(completion, reference) for completion, reference, _ in cases]
        rates.append(len(cases) / (time.perf_counter() - begin))
        for (completion, reference, right), verdict in zip(cases, verdicts, strict=True):
            if verdict.correct != right:
                print(f"misjudged {completion[-60:]!r} for {reference!r}: {verdict}", file=sys.stderr)
    return {"numeric_verdicts_per_s": round(statistics.median(rates))}


def symbolic_speed(math500: Sequence[str]) -> dict[str, float]:
    """Verdicts a second with the default number of workers, on different pairs of MATH-500's expressions.

    Only pairs that a worker must judge count: what is settled by text or exact numbers is left out.
    """
    rng = random.Random(2)
    expressions = [reference for reference in math500 if re.search(r"\\sqrt|\\pi|[a-z]\^|i$|\(|matrix", reference)]
    pairs = [(r, reference) for reference in expressions for r in list(expression_renderings(reference))[:7]]
    pairs += [(IN_BOX % rng.choice(expressions), rng.choice(expressions)) for _ in range(SYMBOLIC)]
    verifier = MathVerifier(TEMPLATES["r1-zero"], Verification())
    settle(verifier, [(THOUGHT + IN_BOX % "\\sqrt{8}", "2\\sqrt{2}")], 60.0)  # the workers' start is no verdict
    begin = time.perf_counter()
    problems = [(THOUGHT + answer, Problem("p", "", reference)) for answer, reference in dict.fromkeys(pairs)]
    pending = [one for one in (verifier.begin(*problem) for problem in problems) if not isinstance(one, Verdict)]
    for one in pending:
        one.result(600.0)
    seconds = time.perf_counter() - begin
    verifier.close()
    return {"symbolic_verdicts_per_s": round(len(set(map(id, (one.future for one in pending)))) / seconds)}


def settle(verifier: MathVerifier, cases: Iterable[tuple[str, str]], deadline_s: float) -> list[Verdict]:
    """The verdicts on completions and their references, all begun before the first is waited for."""
    begin = time.monotonic()
    begun = [verifier.begin(completion, Problem("p", "", reference)) for completion, reference in cases]
    return [
        one if isinstance(one, Verdict) else one.result(max(0.0, begin + deadline_s - time.monotonic()))
        for one in begun
    ]


# Each passes the guard, since its numbers are small, and keeps sympy busy for much longer than the deadline.
HANGING = (
    (r"x+\sqrt{2}", r"\sin(e^{e^{13.%d}})"),
    (r"x+\sqrt{2}", r"\cos(\sin(e^{e^{13.%d}}))"),
    (r"x+\sqrt{2}", r"\sqrt{2+\sin(e^{e^{13.%d}})}"),
    (r"x+\sqrt{2}", r"\ln(2+\cos(e^{e^{13.%d}}))"),
    (r"x+\sqrt{2}", r"\arctan(\tan(e^{e^{13.%d}}))"),
    (r"x+\sqrt{2}", r"\sin(\sin(\pi^{99999%d}))"),
    (r"x+\sqrt{2}", r"\cos(e^{99998%d}+\pi)"),
    (r"x+\sqrt{2}", r"\sin(\cosh(e^{13.%d}))"),
    (r"x+\sqrt{2}", r"\sin(e^{99999%d})\cos(\pi^{999999})"),
    (r"\sum_{k=1}^{\infty} \frac{1}{k^3}", r"\sum_{k=1}^{\infty} \frac{\tan(k+%d)}{k^2}"),
    (r"\sum_{k=1}^{\infty} \frac{1}{k^3}", r"\sum_{k=1}^{\infty} \frac{\sin(%dk+1)}{k}"),
    (r"\sum_{k=1}^{\infty} \frac{1}{k^3}", r"\sum_{k=1}^{\infty} \frac{1}{k^2+\cos(k+%d)}"),
    (r"\sum_{k=1}^{\infty} \frac{1}{k^3}", r"\sum_{k=1}^{\infty} \frac{\sin(\sqrt{k}+%d)}{k}"),
    (r"\sum_{k=1}^{\infty} \frac{1}{k^3}", r"\sum_{k=1}^{\infty} \frac{\ln(k+%d)}{k^2+\sin(k)}"),
    (r"\sum_{k=1}^{\infty} \frac{1}{k^3}", r"\sum_{k=1}^{\infty} \frac{1}{k\ln(k+1%d)^2}"),
    (r"\sum_{k=1}^{\infty} \frac{1}{k^3}", r"\prod_{k=1}^{\infty} (1+\frac{\sqrt{k+%d}}{k^3})"),
    (r"\sum_{k=1}^{\infty} \frac{1}{k^3}", r"\sum_{k=1}^{9999} \cos(k^{5}+%d)"),
    (r"\sum_{k=1}^{\infty} \frac{1}{k^3}", r"\sum_{k=1}^{\infty} \frac{\cos(k^2)}{k+%d}"),
    (r"\sum_{k=1}^{\infty} \frac{1}{k^3}", r"\sum_{k=1}^{999%d} \sin(\sqrt{k^3+1})"),
    (r"\sum_{k=1}^{\infty} \frac{1}{k^3}", r"\sum_{k=1}^{\infty} \frac{\sin(k^2+%d)}{k^2}"),
)


def hanging_answers() -> list[tuple[str, str]]:
    """A hundred different answers that hang, each with its reference."""
    return [(answer % k, reference) for reference, answer in HANGING for k in range(1, 6)]


def hangs() -> dict[str, float]:
    """10,000 answers of which 100 hang, at the defaults of a recipe: numbers, expressions, and hangs among them."""
    rng = random.Random(3)
    cases: list[tuple[str, str, bool | None]] = [
        (thinking(rng) + IN_BOX % answer, reference, None) for answer, reference in hanging_answers()
    ]
    for k in range(2_400):
        a, b, right = k // 12 + 2, 2 + k % 12, rng.random() < 0.5
        written = f"\\sqrt{{{(a if right else a + 1) ** 2 * b}}}+{b}x"
        cases.append((thinking(rng) + IN_TAG % written, f"{b}x+{a}\\sqrt{{{b}}}", right))
    cases += numeric_cases(rng, ANSWERS - len(cases))
    rng.shuffle(cases)
    verifier = MathVerifier(TEMPLATES["r1-zero"], Verification())
    begin = time.perf_counter()
    verdicts = settle(verifier, [(completion, reference) for completion, reference, _ in cases], 600.0)
    seconds = time.perf_counter() - begin
    verifier.close()
    timeouts, others_right = 0, 0
    for (completion, reference, right), verdict in zip(cases, verdicts, strict=True):
        if right is None:
            hung = verdict.outcome is Outcome.TIMEOUT and "before evaluation" not in verdict.reason
            timeouts += hung
            if not hung:
                print(f"did not hang: {completion[-70:]!r}: {verdict}", file=sys.stderr)
        elif verdict.outcome is (Outcome.CORRECT if right else Outcome.WRONG):
            others_right += 1
        else:
            print(f"misjudged {completion[-60:]!r} for {reference!r}: {verdict}", file=sys.stderr)
    return {
        "hang_answers": len(cases),
        "hang_timeouts": timeouts,
        "hang_others_right": others_right / (len(cases) - HANGS),
        "hang_seconds": seconds,
    }


if __name__ == "__main__":
    print(json.dumps(measure(), indent=2))
