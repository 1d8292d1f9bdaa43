"""P13, P14 and P17 to P20: the same RL stage with one thing changed (the recipe of comparisons).

Stage names: ``no-language`` / ``with-language``, ``preference-long`` (against ``r1``), ``ppo-95`` / ``ppo-100`` /
``grpo-100``, ``clip-low`` / ``clip`` / ``clip-high``, ``t-10`` / ``t-07``, ``naive-grpo`` / ``dapo``.
"""

from __future__ import annotations

import numpy as np

from thinkery.evaluation.samples import Floats
from thinkery.mini.phenomena.claims import EITHER, Finding, above_zero, either, trend, with_interval
from thinkery.mini.phenomena.ladder import Column, Ladder, NotMeasuredError
from thinkery.mini.phenomena.reasoning import second_less_first, steps_over, stretches

SMALL_COST = 0.10  # of pass@1: what the language reward may cost
MIN_PROBES = 5  # points of a probe, which is not measured at every step


def without_language_reward_languages_mix(ladder: Ladder) -> Finding:
    """P13: without the reward the thinking's share in the question's language falls, with it the share is higher, and
    pass@1 is not lower by more than ``SMALL_COST``."""
    models = ("no-language", "with-language")
    shares, solved = ladder.tables(
        ([Column(model, "language_share") for model in models], None), ([Column(model) for model in models], None)
    )
    (curves,) = ladder.curves(("no-language", ["language"]))
    gain = ladder.estimate(second_less_first, shares)
    cost = ladder.estimate(lambda m: m[..., 0] - m[..., 1], solved)
    room = ladder.estimate(lambda m: SMALL_COST - (m[..., 0] - m[..., 1]), solved)
    claims = [
        trend("without the reward the share", [curve[:, 0] for curve in curves], up=False, seed=ladder.seed),
        above_zero("the share with the reward less that without", gain, shares.over),
        above_zero(f"a cost in pass@1 of {SMALL_COST:g} less the cost here", room, solved.over),
    ]
    without, share = shares.means()
    here = {"share_without": without, "share_with": share, **with_interval("difference", gain)}
    return Finding(claims, here | with_interval("cost", cost))


def preference_too_long_is_gamed(ladder: Ladder) -> Finding:
    """P14: with preference rewards from the first step on, the reward model's score rises while the verifiable score
    falls: on the probe over the steps, or on held-out reasoning below R1, which had them for its last part only."""
    (rewarded,) = ladder.curves(("preference-long", ["rewards/helpful/mean"]))
    (probed,) = ladder.curves(("preference-long", ["probe/pass@1"]), least=MIN_PROBES)
    claims = [trend("the reward model's score", [curve[:, 0] for curve in rewarded], up=True, seed=ladder.seed)]
    down = trend("the probe", [c[:, 0] for c in probed], up=False, seed=ladder.seed, confidence=EITHER)
    here = {"reward": _ends(rewarded), "probe": _ends(probed)}
    try:
        table = ladder.table(Column("preference-long"), Column("r1"))
    except NotMeasuredError:
        return Finding([*claims, down], here)
    loss = ladder.estimate(second_less_first, table, confidence=EITHER)
    lower = above_zero("R1's pass@1 less that after long preference RL", loss, table.over, EITHER)
    return Finding([*claims, either(down, lower)], here | {"loss": loss.value})


def ppo_needs_lambda_one(ladder: Ladder) -> Finding:
    """P17: PPO with lambda 1 above PPO with lambda 0.95, and nearer to GRPO than to it."""
    table = ladder.table(Column("ppo-95"), Column("ppo-100"), Column("grpo-100"))
    gain = ladder.estimate(second_less_first, table)
    nearer = ladder.estimate(lambda m: (m[..., 1] - m[..., 0]) - (m[..., 2] - m[..., 1]), table)
    claims = [
        above_zero("pass@1 with lambda 1 less that with 0.95", gain, table.over),
        above_zero("that less what GRPO has more than lambda 1", nearer, table.over),
    ]
    low, one, grpo = table.means()
    return Finding(claims, {"ppo_95": low, "ppo_100": one, "grpo": grpo, **with_interval("difference", gain)})


def clip_has_a_middle(ladder: Ladder) -> Finding:
    """P18: too low a clip ends lower; too high a one ends lower, or its reward jumps more from step to step."""
    low_table = ladder.table(Column("clip-low"), Column("clip"))
    high_table = ladder.table(Column("clip-high"), Column("clip"))
    usual, high = ladder.curves(("clip", ["reward"]), ("clip-high", ["reward"]))
    hurt = ladder.estimate(second_less_first, low_table)
    lower = ladder.estimate(second_less_first, high_table, confidence=EITHER)
    jumps = [_jumps(curves) for curves in (usual, high)]
    wilder = ladder.estimate(second_less_first, *jumps, confidence=EITHER)
    claims = [
        above_zero("pass@1 with the usual clip less that with a low one", hurt, low_table.over),
        either(
            above_zero("pass@1 with the usual clip less that with a high one", lower, high_table.over, EITHER),
            above_zero("how much more the reward jumps with a high clip", wilder, steps_over(high), EITHER),
        ),
    ]
    low_mean, middle = low_table.means()
    here = {"low": low_mean, "middle": middle, "high": high_table.means()[0], **with_interval("low_loss", hurt)}
    return Finding(claims, here | {"high_loss": lower.value, "high_jumps": wilder.value})


def hot_sampling_is_incoherent(ladder: Ladder) -> Finding:
    """P19: the share of incoherent completions at temperature 1 less that at 0.7, over the second half of the steps."""
    hot, cool = ladder.curves(("t-10", ["incoherent"]), ("t-07", ["incoherent"]))
    halves = [stretches(curves, 2)[1] for curves in (cool, hot)]
    more = ladder.estimate(second_less_first, *halves)
    claim = above_zero("the incoherent share at 1.0 less that at 0.7", more, steps_over(hot))
    here = {"t_07": float(halves[0].mean()), "t_10": float(halves[1].mean()), **with_interval("difference", more)}
    return Finding([claim], here | _solved(ladder))


def naive_grpo_trails_dapo(ladder: Ladder) -> Finding:
    """P20: DAPO's changes less naive GRPO, after as many steps."""
    table = ladder.table(Column("naive-grpo"), Column("dapo"))
    gain = ladder.estimate(second_less_first, table)
    naive, dapo = table.means()
    here = {"naive_grpo": naive, "dapo": dapo, **with_interval("gain", gain)}
    return Finding([above_zero("pass@1 with DAPO's changes less naive GRPO's", gain, table.over)], here)


def _solved(ladder: Ladder) -> dict[str, float]:
    """What the two temperatures come to on held-out reasoning, if that was evaluated."""
    try:
        cool, hot = ladder.table(Column("t-07"), Column("t-10")).means()
    except NotMeasuredError:
        return {}
    return {"t_07_pass@1": cool, "t_10_pass@1": hot}


def _ends(curves: list[Floats]) -> list[float]:
    """Where a curve begins and where it ends: the means of its first and last fifth."""
    parts = [np.array_split(curve[:, 0], 5) for curve in curves]
    return [float(np.mean([part[i].mean() for part in parts])) for i in (0, -1)]


def _jumps(curves: list[Floats]) -> Floats:
    """(R, steps, 1): how far a curve is from the mean of its two neighbours, so that a steady rise is no jump."""
    length = min(map(len, curves))
    values = np.stack([curve[:length] for curve in curves])
    return np.abs(values[:, 1:-1] - (values[:, :-2] + values[:, 2:]) / 2)
