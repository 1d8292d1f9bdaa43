"""Which curves the report draws of a stage, and the one sentence under each that says what to look for.

The sentences quote the phenomena of the DeepSeek-R1 paper by their numbers (P1 ...). Drawing is the page's own script.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

BY_PART = re.compile(r"accuracy/(level|lang)_(.+)")


@dataclass(frozen=True)
class Chart:
    """Curves in one frame.

    ``series`` are (metric, label). ``style`` is how values are written: "share" (0..1 as per cent), "count", "figure".
    ``ordered`` series are shades from easy to hard. ``wide`` charts take a whole row.
    """

    title: str
    look: str
    series: tuple[tuple[str, str], ...]
    style: str = "figure"
    phenomenon: str = ""
    ordered: bool = False
    wide: bool = False


STORY = (
    Chart(
        "Training loss",
        "Nats a token. It should fall fast, then slowly; a second fall near the end is the learning rate's decay.",
        (("loss", "loss"),),
        wide=True,
    ),
    Chart(
        "Accuracy",
        "Share of sampled answers that are right. Look for a steep climb that flattens without falling back: "
        "R1-Zero rose from 15.6% to 71.0% on AIME 2024.",
        (("accuracy", "accuracy"),),
        "share",
        "P1",
        wide=True,
    ),
    Chart(
        "Accuracy by level",
        "Easy levels should saturate early while the hard ones keep gaining: "
        "in the paper level 5 of MATH goes from .55 to .90.",
        (),
        "share",
        "P5",
        ordered=True,
    ),
    Chart(
        "Length",
        "Nothing rewards length. If it grows all the same, the model has found out that thinking longer pays.",
        (("completions/mean_thinking_length", "thinking"), ("completions/mean_length", "whole completion")),
        "count",
        "P4",
    ),
    Chart(
        "Reflection",
        "Share of completions whose thinking says wait, check, mistake, however and the like: "
        "the paper counts 5 to 7 times more of these words in the end.",
        (("reflection", "completions that reflect"),),
        "share",
        "P6",
    ),
    Chart(
        "Reward",
        "Format is learnt first, within a few steps; from then on the reward can grow only by being right.",
        (("reward", "total"), ("rewards/accuracy/mean", "accuracy"), ("rewards/format/mean", "format")),
    ),
    Chart(
        "Format",
        "Share of completions that keep thinking and answer in their tags: it should reach 100% and stay there.",
        (("format", "well formed"),),
        "share",
    ),
    Chart(
        "Language of the thinking",
        "Share of the thinking's words in the question's language. Without a reward for it this falls steadily; "
        "with it, it should stay near 100%.",
        (("language", "in the question's language"),),
        "share",
        "P13",
    ),
    Chart(
        "Preference",
        "What the reward models think of the answers. A score that keeps rising says nothing by itself: "
        "look at the probe beside it.",
        (("rewards/helpful/mean", "helpful"), ("rewards/safety/mean", "safe"), ("rewards/model/mean", "model")),
        "figure",
        "P14",
    ),
    Chart(
        "Probe",
        "pass@1 on held-out problems that a rule can check. If it falls while the reward rises, "
        "the policy is gaming its reward.",
        (("probe/pass@1", "now"), ("probe/best", "best so far")),
        "share",
        "P14",
    ),
    Chart(
        "Accuracy by language",
        "The languages should rise together; a gap that opens says that the model thinks better in one of them.",
        (),
        "share",
    ),
)

HEALTH = (
    Chart(
        "Entropy",
        "Nats a token. It falls while the policy makes up its mind; near zero there is nothing left to explore, "
        "and a collapse is not far.",
        (("entropy", "entropy"),),
    ),
    Chart(
        "KL to the reference",
        "Exactly 0 at the first step, then a slow walk away from the reference; a sudden drop marks its refresh.",
        (("kl", "KL"),),
    ),
    Chart(
        "Mismatch of engine and learner",
        "How far the sampling engine's probabilities are from the learner's for the same weights: "
        "it must stay small and flat, or the gradient belongs to another policy.",
        (("mismatch_kl", "mismatch KL"),),
    ),
    Chart(
        "Gradient norm",
        "Lone peaks are cut by gradient clipping; a rise that stays is a run about to break.",
        (("grad_norm", "gradient norm"),),
    ),
    Chart(
        "Clipped tokens",
        "Share of tokens whose update the clip holds back: too low a clip hurts, too high a one destabilises.",
        (("clip_ratio/low", "low side"), ("clip_ratio/high", "high side")),
        "share",
        "P18",
    ),
    Chart(
        "Cut off at the length limit",
        "Answers that never came. If this grows along with the length, the limit is in the way.",
        (("completions/clipped_ratio", "cut off"),),
        "share",
    ),
    Chart(
        "Incoherent completions",
        "Cut off, malformed or caught in a loop. Sampling too hot shows here first.",
        (("incoherent", "incoherent"),),
        "share",
        "P19",
    ),
    Chart(
        "Dead groups",
        "Groups whose completions all earned the same teach nothing; their share grows as problems become easy.",
        (("frac_reward_zero_std", "no spread in reward"),),
        "share",
    ),
    Chart(
        "Policy loss",
        "No measure of progress: advantages average to nothing in every group, so it hovers about 0.",
        (("loss", "loss"),),
    ),
    Chart(
        "Speed",
        "Tokens a second. A sudden drop is the machine's doing, a slow one that of growing completions.",
        (("tokens_per_second", "tokens/s"),),
        "count",
    ),
    Chart(
        "Seconds a step",
        "Where the time goes; rollout grows with the length.",
        (
            ("time/step", "whole step"),
            ("time/rollout", "rollout"),
            ("time/grading", "grading"),
            ("time/reference", "reference"),
            ("time/update", "update"),
            ("time/other", "other"),
        ),
    ),
    Chart("Learning rate", "As the schedule set it.", (("learning_rate", "learning rate"),)),
)


def charts_for(metrics: Iterable[str]) -> dict[str, list[Chart]]:
    """The charts that a stage's metrics can fill, under "story" and "health"."""
    known = set(metrics)
    # The same metric tells a different story where there are rewards.
    unfit = "Training loss" if "reward" in known else "Policy loss"
    grouped = {"level": _series(known, "level"), "lang": _series(known, "lang")}
    story = [
        replace(chart, series=grouped["level" if chart.ordered else "lang"]) if not chart.series else chart
        for chart in STORY
    ]
    kept = {"story": [_kept(chart, known) for chart in story], "health": [_kept(chart, known) for chart in HEALTH]}
    return {part: [c for c in charts if c.series and c.title != unfit] for part, charts in kept.items()}


def _kept(chart: Chart, known: set[str]) -> Chart:
    return replace(chart, series=tuple(pair for pair in chart.series if pair[0] in known))


def _series(known: set[str], kind: str) -> tuple[tuple[str, str], ...]:
    """Metrics such as ``accuracy/level_3`` with their labels, in order."""
    found: Mapping[str, str] = {
        match[2]: match[0] for name in known if (match := BY_PART.fullmatch(name)) and match[1] == kind
    }
    word = "level " if kind == "level" else ""
    return tuple((found[key], word + key) for key in sorted(found, key=lambda k: (len(k), k)))
