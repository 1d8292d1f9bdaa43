"""A sample on its way from the policy to the set; batches on disk; the set that they become, and its table.

The table is as DeepSeek-R1 has one of its 800k: samples and mean tokens by domain, and why the rest was dropped. Left
out: the filters (``filters.py``) and the rewriting (``rewriting.py``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from thinkery.files import write_json_atomic
from thinkery.problems.demonstrations import FILE_NAME, demonstration_row
from thinkery.problems.overlap import Benchmarks, Item, find_duplicates
from thinkery.rollout.base import completion_key
from thinkery.stages import parts
from thinkery.types import Demonstration, Message, Outcome, Problem, Verdict


class Reason(StrEnum):
    """Why a sample is in the set (the first two), or not."""

    CORRECT = "correct"  # its verifier accepts the answer
    MATCHED = "matched"  # no rule can check; the judge says that it agrees with the reference
    TRUNCATED = "truncated"  # it never ended
    MALFORMED = "malformed"  # not as the template has it
    WRONG = "wrong"  # its verifier doesn't accept the answer
    MISMATCHED = "mismatched"  # the judge says that it doesn't agree with the reference
    LENGTH = "length"  # thinking too short or too long
    LANGUAGE = "language"  # thinking not in the question's language, or not to be translated
    REPETITION = "repetition"
    PARAGRAPH = "paragraph"  # thinking in too long a paragraph
    CODE = "code"  # a code block in the thinking
    UNREFINED = "unrefined"  # the rewrite failed
    NEW_STEP = "new_step"  # the rewritten summary has numbers that occur nowhere before it
    CHANGED = "changed"  # the rewrite's answer is no longer accepted
    SURPLUS = "surplus"  # the problem has its samples already
    DUPLICATE = "duplicate"  # nearly another sample of the set
    CONTAMINATED = "contaminated"  # shares text with what it must not hold


KEPT = (Reason.CORRECT, Reason.MATCHED)


@dataclass(frozen=True, slots=True)
class CollectedSample:
    """One completion. ``reason`` is None while nothing is decided; ``detail`` says more, for people.

    ``text`` is the completion as it was sampled; ``thinking`` and ``answer`` are what the template reads there, or
    what they were rewritten to. ``worth`` orders the samples of a problem; ``tokens`` is the whole sample's length.
    """

    problem: Problem
    index: int
    text: str
    thinking: str
    answer: str
    verdict: Verdict
    worth: float = 0.0
    tokens: int = 0
    rewritten: bool = False
    matched: str | None = None  # the answer that a judge found to agree with the reference
    reason: Reason | None = None
    detail: str = ""

    @property
    def unchecked(self) -> bool:
        """Whether no rule can check it, so that a judge must."""
        return self.verdict.outcome is Outcome.UNCHECKED

    @property
    def question(self) -> str:
        """What the user asks, as text."""
        return question_of(self.problem.prompt)

    def settled(self, reason: Reason, detail: str = "") -> CollectedSample:
        """The sample, kept or dropped for a reason."""
        return replace(self, reason=reason, detail=detail)

    def rewrite(self, thinking: str, answer: str) -> CollectedSample:
        """The sample with other words."""
        return replace(self, thinking=thinking, answer=answer, rewritten=True)

    def seed(self, seed: int, stage: str) -> int:
        """What seeds others' random numbers for this sample: 31 bits, as every endpoint takes them."""
        return completion_key(seed, stage, 0, self.problem.id, self.index) & 0x7FFFFFFF

    def row(self) -> dict[str, Any]:
        """What is kept between batches: of a kept sample a ``Demonstration`` and what the set says of it."""
        assert self.reason is not None
        problem = self.problem
        record = {"problem_id": problem.id, "index": self.index, "reason": self.reason.value, "text": self.text}
        if self.reason not in KEPT:
            record |= {"detail": self.detail, "domain": problem.domain, "language": problem.language}
            record |= {"level": problem.level}
            return record | ({"thinking": self.thinking, "answer": self.answer} if self.rewritten else {})
        demonstration = Demonstration(
            id=f"{problem.id}#{self.index}",
            prompt=problem.prompt,
            thinking=self.thinking,
            answer=self.answer,
            domain=problem.domain,
            language=problem.language,
            level=problem.level,
        )
        return demonstration_row(demonstration) | record | {"tokens": self.tokens}


def question_of(prompt: str | Sequence[Message]) -> str:
    """A prompt as text; of messages those of the user."""
    if isinstance(prompt, str):
        return prompt
    return "\n".join(str(message["content"]) for message in prompt if message["role"] == "user")


def dropped(row: Mapping[str, Any], reason: Reason, detail: str) -> dict[str, Any]:
    """A kept sample's row as that of one which was dropped in the end."""
    record = {"problem_id": row["problem_id"], "index": row["index"], "reason": reason.value, "text": row["text"]}
    record |= {"detail": detail}
    return record | {name: row[name] for name in ("domain", "language", "level", "thinking", "answer")}


def onward(
    samples: Sequence[CollectedSample], work: Callable[[Sequence[CollectedSample]], list[CollectedSample]]
) -> list[CollectedSample]:
    """The samples in their order, with ``work`` done on those that nothing has settled yet."""
    done = iter(work([sample for sample in samples if sample.reason is None]))
    return [sample if sample.reason is not None else next(done) for sample in samples]


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


class CollectionTable:
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


Row = dict[str, Any]
Loss = tuple[Reason, str]
_PART = "part-"


def write_part(folder: Path, before: Path | None, batch: int, samples: Iterable[CollectedSample]) -> None:
    """Writes a batch into a checkpoint's ``folder``, next to the batches of the checkpoint ``before``."""
    parts.write_part(folder, before, f"{_PART}{batch:06d}", (sample.row() for sample in samples))


def read_parts(folder: Path) -> Iterator[Row]:
    """The rows of a checkpoint's batches, in their order."""
    return parts.read_parts(folder, _PART)


def sift(rows: Iterable[Row], deduplicate: float | None, benchmarks: Benchmarks | None) -> dict[int, Loss]:
    """Which kept rows, by position, share text with a benchmark or with an earlier kept row.

    ``deduplicate`` is the share of 5-grams that makes two samples (prompt, thinking and answer) the same. In memory are
    the kept rows alone.
    """
    kept = {position: (row["id"], texts_of(row)) for position, row in enumerate(rows) if row["reason"] in _KEPT}
    lost: dict[int, Loss] = {}
    if benchmarks is not None:
        for position, (identity, texts) in kept.items():
            match = benchmarks.match(Item(identity, texts))
            if match is not None:
                lost[position] = Reason.CONTAMINATED, f"shares with {match.item}: {match.shared}"
    if deduplicate is not None:
        items = [Item(str(p), ("\n".join(texts),)) for p, (_, texts) in kept.items() if p not in lost]
        for duplicate in find_duplicates(items, deduplicate):
            first, _ = kept[int(duplicate.first)]
            detail = f"{duplicate.similarity:.0%} of its 5-grams are those of {first}"
            lost[int(duplicate.place)] = Reason.DUPLICATE, detail
    return lost


def write_set(checkpoint: Path, lost: Mapping[int, Loss], table: CollectionTable, folder: Path) -> None:
    """Writes ``data.jsonl``, ``dropped.jsonl`` and ``table.json`` into ``folder``, and counts the rows in ``table``."""
    with parts.open_lines(folder / FILE_NAME) as data, parts.open_lines(folder / "dropped.jsonl") as rest:
        for position, row in enumerate(read_parts(checkpoint)):
            if position in lost:
                row = dropped(row, *lost[position])
            table.add(row)
            if row["reason"] in _KEPT:
                del row["text"]  # only what it was rewritten to is to be learnt from
                data.write(parts.line_of(row))
            else:
                rest.write(parts.line_of(row))
    write_json_atomic(folder / "table.json", table.rows())


def texts_of(row: Mapping[str, Any]) -> tuple[str, ...]:
    """What of a sample is compared: what its user asks, its thinking, its answer."""
    return tuple(text for text in (question_of(row["prompt"]), row["thinking"], row["answer"]) if text)
