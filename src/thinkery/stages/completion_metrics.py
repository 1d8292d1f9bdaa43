"""Statistics of completions while a stage runs: lengths, reflection, language, coherence; rows for the run folder.

Left out: rewards (``rewards``), and figures of held-out evaluations (``evaluation``).
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from thinkery.evaluation.metrics import cons_at_k, reflection_share, reflections_per_completion
from thinkery.models.loading import Policy
from thinkery.models.template import Template
from thinkery.rewards.language import language_proportion
from thinkery.rewards.repetition import ends_in_loop
from thinkery.rewards.texts.scripts import require_language
from thinkery.types import Completion, Group, Outcome, UserError


def health_metrics(groups: Sequence[Group], policy: Policy) -> dict[str, float]:
    """``incoherent`` and ``language``, over all completions of a step.

    ``incoherent``: the share that is cut off, malformed, or ends its thinking or its answer in a loop (DeepSeek-R1
    samples its last RL at a temperature of 0.7, since at 1 much is incoherent). ``language``: the mean share of the
    thinking's words that are in the question's language, as the reward ``language`` reads it by default; over
    completions with words, of problems in a language that can be told apart, and left out where there are none.
    """
    completions = [completion for group in groups for completion in group.completions_G]
    shares = [
        language_proportion(thinking_of(completion, policy), group.problem.language)
        for group in groups
        if _can_be_told(group.problem.language)
        for completion in group.completions_G
    ]
    known = [share for share in shares if share is not None]
    metrics = {"incoherent": statistics.fmean(_incoherent(completion, policy.template) for completion in completions)}
    return metrics | ({"language": statistics.fmean(known)} if known else {})


def _incoherent(completion: Completion, template: Template) -> bool:
    parsed = template.parse(completion.text)
    if completion.finish_reason == "length" or not parsed.well_formed:
        return True
    return any(ends_in_loop(part) for part in (parsed.thinking, parsed.answer) if part)


@cache
def _can_be_told(language: str) -> bool:
    try:
        require_language(language)
    except UserError:
        return False
    return True


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
