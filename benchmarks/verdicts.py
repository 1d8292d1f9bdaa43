"""Are the verdicts right? Cases with the right verdict, kinds that peers test, and edits that must be refused.

    python benchmarks/verdicts.py [--only cases peers edits left_out] [--shared FOLDER]

Writes benchmarks/results/verdicts.json: per file how many strict cases are judged right and how many wrong answers are
accepted; how many of the peers' kinds we and math-verify judge as the peer does, with a table of who is right where we
differ; how many of 20,000 wrong edits are accepted; the share of references that are left out. Parts that are not
measured again keep their figures. Left out: speed (``rewards.py``), programs, languages.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import rewards_math
import verdicts_fuzz
from recording import RESULTS, ROOT, figures_in, write_result

from thinkery.models.template import TEMPLATES
from thinkery.recipe.verification import Verification
from thinkery.rewards import grade_math
from thinkery.rewards.choice import ChoiceVerifier
from thinkery.types import Outcome, Problem

RESULT = RESULTS / "verdicts.json"
PEERS = ROOT / "tests" / "rewards" / "data" / "verdict_cases.jsonl"
CASES = ("adversarial", "realistic", "probe")
Figures = dict[str, float]
Tables = dict[str, list[dict[str, Any]]]


def rows(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a file of JSON lines."""
    return (json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip())


def accepts(row: dict[str, Any]) -> bool:
    """Whether the verifier of a case accepts its completion."""
    if "choices" in row:
        problem = Problem("p", "", row["reference"], verifier="choice", columns={"choices": row["choices"]})
        template = TEMPLATES["chat-think" if row.get("prefilled") else "r1-zero"]
        return ChoiceVerifier(template, Verification()).begin(row["completion"], problem).correct
    return grade_math(row["completion"], row["reference"], prefilled_think=bool(row.get("prefilled"))).correct


def cases(shared: Path) -> tuple[Figures, Tables]:
    """The strict cases of each file: judged right, and accepted though wrong; disagreements in a table."""
    figures: Figures = {"strict_right": 0, "strict_total": 0, "false_accepts": 0}
    table = []
    for name in CASES:
        right = total = false = 0
        for row in rows(shared / "cases" / f"{name}.jsonl"):
            accepted = accepts(row)
            if row["strict"]:
                total += 1
                right += accepted == bool(row["expected"])
                false += accepted and not row["expected"]
            if accepted != bool(row["expected"]):
                table.append(
                    {"id": row["id"], "strict": row["strict"], "expected": row["expected"], "why": row.get("why", "")}
                )
        figures |= {f"strict_right_{name}": right, f"strict_total_{name}": total, f"false_accepts_{name}": false}
        for key, value in (("strict_right", right), ("strict_total", total), ("false_accepts", false)):
            figures[key] += value
    return figures, {"cases_disagreed": table}


def completion_of(row: dict[str, Any]) -> str:
    """A case as a completion: whole, or its answer in the answer tag."""
    return str(row.get("completion") or f"<think>w</think><answer>${row['answer']}$</answer>")


def peers(_: Path) -> tuple[Figures, Tables]:
    """Kinds of the peers' own tests: how often we, and math-verify, judge as the peer does."""
    found = list(rows(PEERS))
    ours = [grade_math(completion_of(row), row["reference"]).correct for row in found]
    theirs = verdicts_fuzz.by_math_verify([(row.get("completion") or row["answer"], row["reference"]) for row in found])
    expected = [bool(row["peer_expects"]) for row in found]
    table = [
        {"reference": row["reference"], "answer": row.get("completion") or row["answer"], "peer": row["peer"],
         "peer_expects": row["peer_expects"],
         "ours": int(our), "math_verify": int(their), "right": row.get("right", "the peer"), "why": row.get("why", "")}
        for row, our, their in zip(found, ours, theirs, strict=True)
        if not our == their == bool(row["peer_expects"])
    ]  # fmt: skip
    return {
        "upstream_total": len(found),
        "upstream_agree": sum(our == peer for our, peer in zip(ours, expected, strict=True)),
        "upstream_mathverify": sum(their == peer for their, peer in zip(theirs, expected, strict=True)),
    }, {"upstream_disagreed": table}


def left_out(shared: Path) -> tuple[Figures, Tables]:
    """The share of references that cannot be read: of MATH-500, GSM8K and AIME."""
    golds = dict(zip(("gsm8k", "math"), rewards_math.golds(), strict=True))
    golds["aime"] = [
        row["answer"] for row in json.loads((shared / "data" / "rllm_aime.json").read_text(encoding="utf-8"))
    ]
    figures, table = {}, []
    for name, references in golds.items():
        lost = [r for r in references if _outcome(r) is Outcome.REFERENCE_UNPARSEABLE]
        figures[f"left_out_{name}"] = len(lost) / len(references)
        table += [{"dataset": name, "reference": reference} for reference in lost]
    return figures, {"left_out": table}


def _outcome(reference: str) -> Outcome:
    return grade_math(f"<think>w</think>\\boxed{{{reference}}}", reference).outcome


def edits(_: Path) -> tuple[Figures, Tables]:
    """Edits of public references that are wrong by a second opinion."""
    figures, table = verdicts_fuzz.measure()
    counted: dict[str, int] = {}
    for row in table:
        counted[row["reason"]] = counted.get(row["reason"], 0) + 1
    shown = [
        {"reason": name, "edits": number, **next(r for r in table if r["reason"] == name)}
        for name, number in counted.items()
    ]
    return figures, {"edits_that_math_verify_accepts": shown}


PARTS: dict[str, Callable[[Path], tuple[Figures, Tables]]] = {
    "cases": cases, "peers": peers, "left_out": left_out, "edits": edits,
}  # fmt: skip


def main(only: Iterable[str], shared: Path) -> None:
    """Measures the parts and writes the results file."""
    figures = figures_in(RESULT)
    tables: Tables = json.loads(RESULT.read_text()).get("tables", {}) if RESULT.exists() else {}
    for name in only:
        measured, table = PARTS[name](shared)
        print(f"{name}: {json.dumps(measured)}", file=sys.stderr)
        for rest in table.values():
            for row in rest:
                print(f"  {json.dumps(row, ensure_ascii=False)}", file=sys.stderr)
        figures |= measured
        tables |= table
    write_result(RESULT, "verdicts.py", figures, tables=tables)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--only", nargs="+", choices=tuple(PARTS), default=tuple(PARTS), help="measure these parts alone"
    )
    parser.add_argument("--shared", type=Path, default=ROOT.parent / "shared", help="the folder of shared data")
    arguments = parser.parse_args()
    rewards_math.DATA = verdicts_fuzz.DATA = arguments.shared / "data"
    main(arguments.only, arguments.shared)
