"""What can be read off completions while a stage runs: length of the thinking, reflection, rows for the record.

A completion that opened no thinking counts as thinking throughout: where the tags are missing, the work is still there.
Left out: verdicts and rewards, which come with the groups.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from thinkery.evaluation.reducers import cons_at_k
from thinkery.evaluation.reflection import reflection_share, reflections_per_completion
from thinkery.models.loading import Policy
from thinkery.types import Completion, Group, Outcome


def thinking_of(completion: Completion, policy: Policy) -> str:
    """The thinking, or the whole text where none was marked."""
    thinking = policy.template.parse(completion.text).thinking
    return completion.text if thinking is None else thinking


@dataclass(frozen=True, slots=True)
class Reading:
    """A completion's thinking and how many tokens it has."""

    thinking: str
    length: int


def read(completions: Sequence[Completion], policy: Policy) -> dict[tuple[str, int], Reading]:
    """The readings of completions by (problem id, index), tokenised together."""
    if not completions:
        return {}
    thinkings = [thinking_of(completion, policy) for completion in completions]
    ids = policy.tokenizer(thinkings, add_special_tokens=False)["input_ids"]
    return {
        (completion.problem_id, completion.index): Reading(thinking, len(tokens))
        for completion, thinking, tokens in zip(completions, thinkings, ids, strict=True)
    }


def reading_metrics(groups: Sequence[Group], policy: Policy) -> dict[str, float]:
    """Thinking length (tokens), share of completions that reflect, majority vote over each group that is checked."""
    readings = read([completion for group in groups for completion in group.completions_G], policy).values()
    thinkings = [reading.thinking for reading in readings]
    checked = [g.verdicts_G for g in groups if any(v.outcome is not Outcome.UNCHECKED for v in g.verdicts_G)]
    cons = {"cons": statistics.fmean(map(cons_at_k, checked))} if checked else {}
    return cons | {
        "completions/mean_thinking_length": statistics.fmean(reading.length for reading in readings),
        "reflection": reflection_share(thinkings),
        "reflections_per_completion": reflections_per_completion(thinkings),
    }


def completion_rows(
    groups: Sequence[Group], advantages_PG: Sequence[Sequence[float]], policy: Policy, limit: int
) -> list[dict[str, Any]]:
    """At most ``limit`` completions as rows for the run folder, taken from all groups alike."""
    width = max((len(group.completions_G) for group in groups), default=0)
    chosen = [(p, g) for g in range(width) for p, group in enumerate(groups) if g < len(group.completions_G)][:limit]
    return [_row(groups[p], g, advantages_PG[p][g], policy) for p, g in chosen]


def _row(group: Group, index: int, advantage: float, policy: Policy) -> dict[str, Any]:
    problem, completion, verdict = group.problem, group.completions_G[index], group.verdicts_G[index]
    parsed = policy.template.parse(completion.text)
    return {
        "problem_id": problem.id,
        "index": completion.index,
        "prompt": problem.prompt if isinstance(problem.prompt, str) else policy.template.render(problem.prompt),
        "completion": completion.text,
        "thinking": parsed.thinking,
        "answer": parsed.answer,
        "reference": problem.reference,
        "correct": verdict.correct,
        "outcome": verdict.outcome.value,
        "reason": verdict.reason,
        "reward": group.totals_G[index],
        "advantage": advantage,
        "level": problem.level,
        "language": problem.language,
        "length": len(completion.token_ids),
        "finish_reason": completion.finish_reason,
    }
