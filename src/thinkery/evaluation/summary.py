"""One evaluation as one flat report: the figures that ``summary.json``, the README and the HTML page quote.

Takes graded groups and gives plain JSON. Left out: sampling and grading (``stages/evaluate.py``).
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from typing import Any

from thinkery.evaluation.intervals import bootstrap_ci
from thinkery.evaluation.reducers import avg_at_k, cons_at_k, pass_at_k
from thinkery.evaluation.reflection import reflection_share
from thinkery.models.template import Template
from thinkery.types import Completion, Group, UserError


def summarize(
    groups: Sequence[Group],
    *,
    k: int,
    template: Template,
    thinking: Callable[[Completion], str],
    thinking_length: Callable[[Completion], int],
    seed: int,
) -> dict[str, Any]:
    """The report of one benchmark.

    Every group holds at least ``k`` samples: pass@1 (avg@k) and pass@k are unbiased over all of them, cons@k is the
    vote of the first ``k``. ``thinking`` reads a completion's thinking and ``thinking_length`` counts its tokens (it
    needs the tokenizer); ``seed`` is the bootstrap's. Keys: ``n`` (problems), ``k``, ``pass@1``, ``pass@1_ci95``,
    ``pass@<k>``, ``cons@<k>``, ``format``, ``mean_length`` and ``mean_thinking_length`` (tokens), ``truncated`` and
    ``reflection`` (shares of completions), ``by_level`` and ``by_language`` (the same figures, without interval and
    breakdown). Raises ``UserError`` if a group is too small.
    """
    if not groups:
        raise UserError("evaluation: there are no problems to evaluate; check the source, levels and languages")
    small = next((group for group in groups if len(group.completions_G) < k), None)
    if small is not None:
        raise UserError(f"evaluation: problem {small.problem.id} has {len(small.completions_G)} samples, k is {k}")

    def figures(selected: Sequence[Group]) -> dict[str, Any]:
        return _figures(selected, k, template, thinking, thinking_length)

    interval = bootstrap_ci([avg_at_k(group.verdicts_G) for group in groups], seed=seed)
    levels = sorted({group.problem.level for group in groups})
    languages = sorted({group.problem.language for group in groups})
    report = figures(groups)
    head = {key: report.pop(key) for key in ("n", "k", "pass@1")}
    return {
        **head,
        "pass@1_ci95": list(interval),
        **report,
        "by_level": {str(level): figures([g for g in groups if g.problem.level == level]) for level in levels},
        "by_language": {name: figures([g for g in groups if g.problem.language == name]) for name in languages},
    }


def _figures(
    groups: Sequence[Group],
    k: int,
    template: Template,
    thinking: Callable[[Completion], str],
    thinking_length: Callable[[Completion], int],
) -> dict[str, Any]:
    verdicts_PG = [group.verdicts_G for group in groups]
    completions = [completion for group in groups for completion in group.completions_G]
    mean = statistics.fmean
    return {
        "n": len(groups),
        "k": k,
        "pass@1": mean(avg_at_k(verdicts_G) for verdicts_G in verdicts_PG),
        f"pass@{k}": mean(
            pass_at_k(len(verdicts_G), sum(v.correct for v in verdicts_G), k) for verdicts_G in verdicts_PG
        ),
        f"cons@{k}": mean(cons_at_k(verdicts_G[:k]) for verdicts_G in verdicts_PG),
        "format": mean(template.parse(c.text).well_formed for c in completions),
        "mean_length": mean(len(c.token_ids) for c in completions),
        "mean_thinking_length": mean(thinking_length(c) for c in completions),
        "truncated": mean(c.finish_reason == "length" for c in completions),
        "reflection": reflection_share([thinking(c) for c in completions]),
    }
