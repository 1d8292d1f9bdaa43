"""The miniature world: problems of five levels and the corpus that its base model has read.

Problem i of a split depends on (seed, split, i) alone. The splits are disjoint by construction: a task belongs to one
of them by its numbers, whatever its wording (``Task.held_out``), and the corpus holds no held-out task.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random
from typing import Literal

from thinkery.problems.mini.corpus import CHINESE_QUESTION, documents, draw_task
from thinkery.problems.mini.tasks import LEVELS
from thinkery.types import Problem, UserError

__all__ = ["LANGUAGES", "LEVELS", "documents", "mini_problem"]

LANGUAGES = {"en": 1 - CHINESE_QUESTION, "zh": CHINESE_QUESTION}


def mini_problem(
    index: int,
    split: Literal["train", "test"],
    *,
    levels: Sequence[int] = (),
    languages: Mapping[str, float] | None = None,
    seed: int = 0,
) -> Problem:
    """Problem ``index`` of a split. Levels take turns, so every five successive problems hold one of each.

    Raises ``UserError`` for a level or a language that the world doesn't have.
    """
    levels, languages = levels or LEVELS, languages or LANGUAGES
    unknown = [str(name) for name in (set(levels) - set(LEVELS)) | (set(languages) - set(LANGUAGES))]
    if unknown:
        raise UserError(
            f"problems: the miniature world has no {', '.join(unknown)}; levels are {', '.join(map(str, LEVELS))}, "
            f"languages {', '.join(LANGUAGES)}"
        )
    rng = Random(f"problem/{seed}/{split}/{index}")
    language = rng.choices(list(languages), list(languages.values()))[0]
    level = levels[index % len(levels)]
    task = draw_task(rng, level)
    while task.held_out != (split == "test"):
        task = draw_task(rng, level)
    return Problem(
        id=f"mini-{split}-{seed}-{index}",
        prompt=task.question[language],
        reference=str(task.answer),
        domain="math",
        level=level,
        language=language,
        columns={"kind": task.kind},
    )
