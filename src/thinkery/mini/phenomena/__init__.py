"""The 22 phenomena of the DeepSeek-R1 paper, tested on the data of one or more runs.

A phenomenon is a small function ``f(ladder) -> Finding``; here are their names, what the paper saw, and the order.
Direction and order are tested, not the paper's absolute values. What the runs lack is "not measured", never a guess.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from thinkery.mini.phenomena import comparisons, learning_curves, reasoning, students
from thinkery.mini.phenomena.claims import Claim, Finding
from thinkery.mini.phenomena.ladder import Ladder, NotMeasuredError

__all__ = ["PHENOMENA", "Claim", "Finding", "Ladder", "NotMeasuredError", "Phenomenon", "phenomena"]


@dataclass(frozen=True)
class Phenomenon:
    """A phenomenon: its number, what it says, what the paper saw, and the function that tests it."""

    id: str
    title: str
    paper: str
    tested: Callable[[Ladder], Finding]


_LISTED = (
    ("Pure RL from the base lifts pass@1", "15.6 % to 71.0 % on AIME 2024", reasoning.pure_rl_lifts),
    ("A majority vote adds on top", "71.0 % to 86.7 %, cons@64", reasoning.vote_adds),
    (
        "RL raises the vote much more than pass@k",
        "DeepSeekMath, figure 7: maj@k rises, pass@k hardly does",
        reasoning.vote_gains_more_than_pass_k,
    ),
    ("Thinking grows longer, unrewarded", "a steady rise", reasoning.length_grows),
    (
        "Hard levels gain most, easy ones saturate early",
        "level 5 from .55 to .90, levels 1 to 3 early",
        reasoning.hard_levels_gain_most,
    ),
    ("Reflection words grow", "5 to 7 times as many", reasoning.reflection_grows),
    (
        "Easy questions take fewer thinking tokens than hard ones",
        "under 100 for 1+1, over 18,000 for the hardest",
        reasoning.easy_questions_take_less,
    ),
    (
        "Zero follows instructions badly, cold start repairs it",
        "IFEval 46.6 to 71.7",
        learning_curves.cold_start_repairs_instructions,
    ),
    ("A small cold start drops reasoning", "77.9 to 59.0 on AIME 2024", learning_curves.cold_start_drops_reasoning),
    (
        "Reasoning RL recovers it, preference barely moves",
        "59.0 to 74.0; AlpacaEval 50.1 to 55.8",
        learning_curves.reasoning_rl_recovers,
    ),
    ("The large SFT broadens", "Aider 25.6 to 44.8", learning_curves.large_sft_broadens),
    (
        "The last RL mainly lifts preference",
        "AlpacaEval +25, ArenaHard +17, AIME +1.7",
        learning_curves.last_rl_lifts_preference,
    ),
    (
        "Without the language reward the thinking drifts into mixed language",
        "falls steadily without, stays with; code slightly down",
        comparisons.without_language_reward_languages_mix,
    ),
    (
        "Preference RL kept on too long: its score up, the verifiable one down",
        "hence the last 400 of 1,700 steps only",
        comparisons.preference_too_long_is_gamed,
    ),
    ("Distillation beats RL of the same small model", "72.6 against 47.0", students.distillation_beats_rl),
    (
        "Distilled accuracy scales with the student",
        "28.9, 55.5, 69.7, 72.6 for 1.5B to 32B",
        students.accuracy_scales_with_students,
    ),
    (
        "PPO with lambda 0.95 far below lambda 1, which is about GRPO",
        "curves",
        comparisons.ppo_needs_lambda_one,
    ),
    ("Too low a clip hurts, too high a one destabilises", "eps 10 chosen", comparisons.clip_has_a_middle),
    (
        "Temperature 1 in the last RL is incoherent, 0.7 works",
        "stated",
        comparisons.hot_sampling_is_incoherent,
    ),
    ("Naive GRPO trails DAPO's changes", "30 to 50 on AIME 2024", comparisons.naive_grpo_trails_dapo),
    (
        "Too weak a base does not take off under pure RL",
        "7B no gain, 32B a gain",
        students.weak_base_stays_down,
    ),
    ("Few-shot prompting degrades the trained model", "stated", learning_curves.few_shot_degrades),
)
PHENOMENA = tuple(Phenomenon(f"P{i}", *entry) for i, entry in enumerate(_LISTED, start=1))


def phenomena(folders: Sequence[Path]) -> list[dict[str, Any]]:
    """All phenomena, tested on run folders together: runs of one ladder with different seeds, and comparisons with it.

    Each is ``{"id", "title", "holds", "paper", "here", "test"}``, and ``"why"`` where it doesn't hold (``holds`` false)
    or was not measured (``holds`` null). ``here`` is flat: figures, and ``<figure>_ci95`` beside those with an
    interval. Raises ``UserError`` for a folder that is no run.
    """
    ladder = Ladder(folders)
    return [_tested(phenomenon, ladder) for phenomenon in PHENOMENA]


def _tested(phenomenon: Phenomenon, ladder: Ladder) -> dict[str, Any]:
    entry: dict[str, Any] = {"id": phenomenon.id, "title": phenomenon.title, "holds": None, "paper": phenomenon.paper}
    try:
        finding = phenomenon.tested(ladder)
    except NotMeasuredError as error:
        return entry | {"here": {}, "test": "", "why": str(error)}
    entry |= {"holds": finding.holds, "here": dict(finding.here), "test": finding.test}
    return entry if finding.holds else entry | {"why": finding.why}
