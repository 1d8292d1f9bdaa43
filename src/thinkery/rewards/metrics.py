"""What a step's groups say about the policy, as flat numbers in TRL's names where TRL has one.

Left out: lengths and reflection of the thinking (``stages/completion_metrics.py``), which need the tokenizer.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from thinkery.types import Group, Outcome


def group_metrics(groups: Sequence[Group]) -> dict[str, float]:
    """The metrics of a step.

    ``reward_std`` is the mean over groups of the sample standard deviation; lengths are in tokens. ``accuracy`` is over
    the completions that a rule can check, also by level, language and domain; ``grading/*`` count verdicts that are
    neither right nor wrong. What applies to no completion has no metric.
    """
    if not groups:
        return {}
    stds_P = [statistics.stdev(group.totals_G) if len(group.totals_G) > 1 else 0.0 for group in groups]
    rows = [(g.problem, c, v) for g in groups for c, v in zip(g.completions_G, g.verdicts_G, strict=True)]
    metrics = {
        "reward": statistics.fmean(total for group in groups for total in group.totals_G),
        "reward_std": statistics.fmean(stds_P),
        "frac_reward_zero_std": statistics.fmean(std < 1e-8 for std in stds_P),
        "completions/mean_length": statistics.fmean(len(c.token_ids) for _, c, _ in rows),
        "completions/clipped_ratio": statistics.fmean(c.finish_reason == "length" for _, c, _ in rows),
        "grading/timeouts": float(sum(v.outcome is Outcome.TIMEOUT for _, _, v in rows)),
        "grading/gold_unparseable": float(sum(v.outcome is Outcome.GOLD_UNPARSEABLE for _, _, v in rows)),
        "grading/no_answer": float(sum(v.outcome is Outcome.NO_ANSWER for _, _, v in rows)),
    }
    for name in groups[0].rewards_G:
        values = [value for group in groups for value in group.rewards_G[name] if value is not None]
        if values:
            metrics[f"rewards/{name}/mean"] = statistics.fmean(values)
    if "rewards/format/mean" in metrics:
        metrics["format"] = metrics["rewards/format/mean"]
    correct: dict[str, list[bool]] = {}
    for problem, _, verdict in rows:
        if verdict.outcome is Outcome.UNCHECKED:
            continue
        parts = f"level_{problem.level}", f"lang_{problem.language}", f"domain_{problem.domain}"
        for name in ("accuracy", *(f"accuracy/{part}" for part in parts)):
            correct.setdefault(name, []).append(verdict.correct)
    return metrics | {name: statistics.fmean(values) for name, values in sorted(correct.items())}
