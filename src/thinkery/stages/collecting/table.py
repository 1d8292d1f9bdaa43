"""The table of a collected set, as DeepSeek-R1 has one of its 800k: samples and mean tokens by domain; what was lost.

Left out: where it is shown.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from thinkery.stages.collecting.samples import KEPT

ORDER = ("math", "code", "stem", "logic", "general")  # the paper's; other domains follow by name
_KEPT = frozenset(reason.value for reason in KEPT)


@dataclass
class _Domain:
    problems: set[str] = field(default_factory=set)
    tokens: int = 0
    reasons: Counter[str] = field(default_factory=Counter)

    def row(self, name: str) -> dict[str, Any]:
        samples = sum(count for reason, count in self.reasons.items() if reason in _KEPT)
        sampled = self.reasons.total()
        return {
            "domain": name,
            "problems": len(self.problems),
            "sampled": sampled,
            "samples": samples,
            "kept_share": round(samples / sampled, 4) if sampled else 0.0,
            "mean_tokens": round(self.tokens / samples, 1) if samples else 0.0,
            "reasons": dict(sorted(self.reasons.items(), key=lambda item: (-item[1], item[0]))),
        }


class Table:
    """Counts the rows of a set, kept and dropped."""

    def __init__(self) -> None:
        self._domains: dict[str, _Domain] = {}

    def add(self, row: Mapping[str, Any]) -> None:
        """Counts one row."""
        domain = self._domains.setdefault(row["domain"], _Domain())
        domain.problems.add(row["problem_id"])
        domain.reasons[row["reason"]] += 1
        domain.tokens += row.get("tokens", 0)

    def rows(self) -> list[dict[str, Any]]:
        """One row a domain, and ``all``: problems, sampled, samples kept, kept share, mean tokens, counts by reason."""
        names = sorted(self._domains, key=lambda name: (ORDER.index(name) if name in ORDER else len(ORDER), name))
        whole = _Domain()
        for one in self._domains.values():
            whole.problems |= one.problems
            whole.tokens += one.tokens
            whole.reasons += one.reasons
        return [self._domains[name].row(name) for name in names] + [whole.row("all")]

    def summary(self) -> dict[str, int | float]:
        """The figures of the whole, samples and mean tokens of every domain, how many were dropped for what."""
        *domains, whole = self.rows()
        figures = {name: whole[name] for name in ("samples", "mean_tokens", "kept_share", "problems", "sampled")}
        for row in domains:
            figures |= {f"{row['domain']}/{name}": row[name] for name in ("samples", "mean_tokens")}
        lost = {reason: count for reason, count in whole["reasons"].items() if reason not in _KEPT}
        return figures | {f"dropped/{reason}": count for reason, count in lost.items()}

    def text(self) -> str:
        """The table for people, and in a last line what samples were dropped for."""
        rows = self.rows()
        width = max(len("domain"), *(len(row["domain"]) for row in rows))
        lines = [f"{'domain':{width}}  samples  mean tokens   kept"]
        lines += [
            f"{row['domain']:{width}}  {row['samples']:7,}  {row['mean_tokens']:11,.1f}  {row['kept_share']:5.1%}"
            for row in rows
        ]
        lost = [f"{reason} {count:,}" for reason, count in rows[-1]["reasons"].items() if reason not in _KEPT]
        return "\n".join([*lines, f"dropped: {', '.join(lost) or 'none'}"])
