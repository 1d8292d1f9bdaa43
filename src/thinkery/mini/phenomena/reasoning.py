"""P1 to P7: what pure reinforcement learning does to a base model's reasoning (stages ``base`` and ``zero``)."""

from __future__ import annotations

import numpy as np

from thinkery.evaluation.samples import Floats
from thinkery.mini.phenomena.claims import Finding, above_zero, trend, with_interval
from thinkery.mini.phenomena.ladder import Column, Ladder, MeasuredTable, NotMeasuredError

BASE, ZERO, R1 = "base", "zero", "r1"


def second_less_first(means: Floats) -> Floats:
    """What the second column has more than the first."""
    return means[..., 1] - means[..., 0]


def pure_rl_lifts(ladder: Ladder) -> Finding:
    """P1: pass@1 of Zero less that of its base."""
    table = ladder.table(Column(BASE), Column(ZERO))
    gain = ladder.estimate(second_less_first, table)
    before, after = table.means()
    here = {"base": before, "zero": after, **with_interval("gain", gain)}
    return Finding([above_zero("the gain in pass@1", gain, table.over)], here)


def vote_adds(ladder: Ladder) -> Finding:
    """P2: the majority vote of Zero less its pass@1."""
    table = ladder.table(Column(ZERO), Column(ZERO, "cons@k"))
    gain = ladder.estimate(second_less_first, table)
    single, vote = table.means()
    here = {"pass@1": single, "vote": vote, **with_interval("gain", gain)}
    return Finding([above_zero("the gain by voting", gain, table.over)], here)


def vote_gains_more_than_pass_k(ladder: Ladder) -> Finding:
    """P3: how much more reinforcement learning adds to the majority vote than to pass@k."""
    columns = [Column(model, figure) for figure in ("cons@k", "pass@k") for model in (BASE, ZERO)]
    table = ladder.table(*columns)
    more = ladder.estimate(lambda m: (m[..., 1] - m[..., 0]) - (m[..., 3] - m[..., 2]), table)
    vote_before, vote_after, best_before, best_after = table.means()
    here = {"vote_gain": vote_after - vote_before, "pass@k_gain": best_after - best_before}
    claim = above_zero("the vote's gain less that of pass@k", more, table.over)
    return Finding([claim], here | with_interval("difference", more))


def length_grows(ladder: Ladder) -> Finding:
    """P4: thinking tokens of Zero against its base's, and a rise over the steps."""
    table = ladder.table(Column(BASE, "thinking_length"), Column(ZERO, "thinking_length"))
    growth = ladder.estimate(second_less_first, table)
    ratio = ladder.estimate(_ratio, table)
    (curves,) = ladder.curves((ZERO, ["completions/mean_thinking_length"]))
    before, after = table.means()
    claims = [
        above_zero("the growth in thinking tokens", growth, table.over),
        trend("the thinking's length", [curve[:, 0] for curve in curves], up=True, seed=ladder.seed),
    ]
    return Finding(claims, {"base": before, "zero": after, **with_interval("ratio", ratio)})


def hard_levels_gain_most(ladder: Ladder) -> Finding:
    """P5: the harder half of the levels gains more than the easier half, and the easier half has its gain earlier.

    "Earlier" is the mean over all steps of the share of its final gain that a level has made: 1 if all of it came with
    the first step, a half if it came evenly.
    """
    table = ladder.table(Column(BASE), Column(ZERO))
    easy, hard = _halves(table)
    more = ladder.estimate(lambda m: (m[..., 3] - m[..., 2]) - (m[..., 1] - m[..., 0]), easy, hard)
    levels = sorted({int(level) for level in table.levels})
    metrics = [f"accuracy/level_{level}" for level in (levels[0], levels[-1])]
    (curves,) = ladder.curves((ZERO, metrics))
    earlier = ladder.estimate(_earlier, *stretches(curves, 10))
    gains = [after - before for before, after in (easy.means(), hard.means())]
    claims = [
        above_zero("the harder levels' gain less the easier levels'", more, table.over),
        above_zero("how much earlier the easiest level gains than the hardest", earlier, steps_over(curves)),
    ]
    here = {"easy_gain": gains[0], "hard_gain": gains[1], **with_interval("difference", more)}
    return Finding(claims, here | with_interval("earlier", earlier))


def reflection_grows(ladder: Ladder) -> Finding:
    """P6: reflection words a sample of Zero against its base's."""
    table = ladder.table(Column(BASE, "reflections"), Column(ZERO, "reflections"))
    growth = ladder.estimate(second_less_first, table)
    before, after = table.means()
    here = {"base": before, "zero": after, **with_interval("growth", growth)}
    if before:
        here["ratio"] = after / before
    return Finding([above_zero("the growth in reflection words a sample", growth, table.over)], here)


def easy_questions_take_less(ladder: Ladder) -> Finding:
    """P7: thinking tokens on the hardest level less those on the easiest, of R1 (of Zero where there is no R1)."""
    try:
        model, table = R1, ladder.table(Column(R1, "thinking_length"))
    except NotMeasuredError:
        model, table = ZERO, ladder.table(Column(ZERO, "thinking_length"))
    low, high = int(table.levels.min()), int(table.levels.max())
    easy, hard = table.part(low, low), table.part(high, high)
    if low == high:
        raise NotMeasuredError("the problems have but one level")
    more = ladder.estimate(second_less_first, easy, hard)
    here = {"model": model, "easiest": easy.means()[0], "hardest": hard.means()[0], **with_interval("difference", more)}
    return Finding([above_zero("the hardest level's thinking tokens less the easiest's", more, table.over)], here)


def stretches(curves: list[Floats], parts: int) -> list[Floats]:
    """Curves (steps, metrics) of R runs as equal stretches of their steps, each (R, steps / parts, metrics).

    Steps are resampled within their stretch, so that the course of training stays what it was.
    """
    length = min(map(len, curves))
    return np.array_split(np.stack([curve[:length] for curve in curves]), parts, axis=1)


def steps_over(curves: list[Floats]) -> str:
    """What was resampled, for people."""
    return f"{min(map(len, curves)):,} steps, within their stretches of training, in {len(curves)} runs"


def _earlier(means: Floats) -> Floats:
    """From tenths of two curves: the share of its gain that the first has made, on average, less the second's."""
    curves = means.reshape(*means.shape[:-1], 10, 2)
    start, end = curves[..., 0, :], curves[..., -1, :]
    with np.errstate(divide="ignore", invalid="ignore"):
        made = (curves.mean(axis=-2) - start) / np.where(end > start, end - start, np.nan)
    earlier: Floats = made[..., 0] - made[..., 1]
    return earlier


def _halves(table: MeasuredTable) -> tuple[MeasuredTable, MeasuredTable]:
    levels = sorted({int(level) for level in table.levels})
    if len(levels) < 2:
        raise NotMeasuredError("the problems have but one level")
    middle = len(levels) // 2
    return table.part(levels[0], levels[middle - 1]), table.part(levels[-middle], levels[-1])


def _ratio(means: Floats) -> Floats:
    with np.errstate(divide="ignore", invalid="ignore"):
        return means[..., 1] / means[..., 0]
