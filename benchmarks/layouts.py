"""Data sets as they are published, read: is each row the problem that it is meant to be, and graded right?

    python benchmarks/layouts.py [--cases dataset_rows.jsonl]

A layout counts as read if its row (``tests/problems/layout_rows.jsonl``) becomes what stands beside it and, of a
problem, a right answer is accepted and a wrong one refused. ``--cases`` is a file of further rows, each with a
``right`` and a ``wrong`` completion (null: none), counted apart. Left out: whole data sets, which ``thinkery verify``
checks.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

from recording import RESULTS, ROOT, write_result

from thinkery.models.template import TEMPLATES
from thinkery.problems.columns import problems_of
from thinkery.problems.demonstration_columns import demonstrations_of
from thinkery.problems.files import Row
from thinkery.problems.preferences import Prompt, label_of, pair_of
from thinkery.recipe.verification import Verification
from thinkery.rewards.grader import settle
from thinkery.rewards.interfaces import Verifier
from thinkery.rewards.registry import VERIFIERS, make_verifier
from thinkery.types import Outcome, Problem, UserError

ROWS = ROOT / "tests" / "problems" / "layout_rows.jsonl"
DEADLINE_S = 120.0


def main() -> None:
    """Counts, prints what is not read, writes ``results/layouts.json``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=Path, help="further rows, with a right and a wrong completion each")
    cases = parser.parse_args().cases
    with ExitStack() as stack:
        verifiers = {
            name: stack.enter_context(closing(make_verifier(name, TEMPLATES["r1-zero"], Verification())))
            for name in VERIFIERS
        }
        declared = _rows(ROWS)
        figures = {"layouts_declared": len(declared), "layouts_read": _count(declared, verifiers)}
        if cases is not None:
            further = _rows(cases)
            figures |= {"further_rows": len(further), "further_rows_read": _count(further, verifiers)}
    print(figures)
    write_result(RESULTS / "layouts.json", "layouts.py --cases dataset_rows.jsonl" if cases else "layouts.py", figures)


def _rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _count(rows: Sequence[Mapping[str, Any]], verifiers: Mapping[str, Verifier]) -> int:
    """How many rows are read as they are meant; the others are printed."""
    good = 0
    for case in rows:
        why = _why_wrong(case, verifiers)
        good += why is None
        if why is not None:
            print(f"{case['dataset']}: {why}")
    return good


def _why_wrong(case: Mapping[str, Any], verifiers: Mapping[str, Verifier]) -> str | None:
    row = Row("row", 1, parsed=case["row"])
    try:
        if case.get("layout") in _TO_LEARN_FROM:
            learnt = _TO_LEARN_FROM[case["layout"]](row)
            return None if learnt == case["gives"] else f"read as {learnt}"
        problem = next(problems_of(iter([row]), "row")[1])[1]
    except UserError as error:
        return str(error)
    gives = case.get("gives")
    if gives is not None and (said := _as_given(problem)) != gives | {key: said[key] for key in said.keys() - gives}:
        return f"read as {said}"
    for side, expected in (("right", Outcome.CORRECT), ("wrong", Outcome.WRONG)):
        if case[side] is not None:
            verdict = settle(verifiers[problem.verifier].begin(case[side], problem), time.monotonic() + DEADLINE_S)
            if verdict.outcome is not expected:
                return f"the {side} answer is {verdict.outcome}: {verdict.reason}"
    return None


def _demonstration(row: Row) -> dict[str, Any]:
    [one] = demonstrations_of(iter([row]), "row")
    return {"prompt": _text(one.prompt), "thinking": one.thinking, "answer": one.answer}


def _pair(row: Row) -> dict[str, Any]:
    one = pair_of(row, {})
    return {"prompt": _text(one.prompt), "chosen": one.chosen.answer, "rejected": one.rejected.answer}


def _label(row: Row) -> dict[str, Any]:
    one = label_of(row, {})
    return {"prompt": _text(one.prompt), "response": one.response.answer, "safe": one.safe}


def _text(prompt: Prompt) -> str:
    return prompt if isinstance(prompt, str) else "".join(turn["content"] for turn in prompt)


_TO_LEARN_FROM: Mapping[str, Callable[[Row], dict[str, Any]]] = {
    "demonstrations": _demonstration, "pairs": _pair, "labels": _label,
}  # fmt: skip


def _as_given(problem: Problem) -> dict[str, Any]:
    """The problem in the words of the rows' file."""
    reference: Any = problem.reference
    if problem.verifier in ("code", "f1"):
        reference = json.loads(reference)
    return {
        "verifier": problem.verifier,
        "reference": reference,
        "language": problem.language,
        "constraints": problem.columns.get("constraints"),
    }


if __name__ == "__main__":
    main()
