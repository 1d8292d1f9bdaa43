"""The miniature world: problems of five domains and five levels, and the corpus that its base model has read.

Problem i of a split depends on (seed, split, i) alone. The splits are disjoint by construction: a task belongs to one
of them by its substance, whatever its wording (``world.held_out``), and the corpus holds no held-out task.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random
from typing import Literal

from thinkery.mini.corpus import CHINESE_QUESTION, documents
from thinkery.mini.domains import DOMAINS, REASONING, draw_task, weighted
from thinkery.mini.world import LEVELS, WorldTask
from thinkery.types import Problem, UserError

__all__ = ["DOMAINS", "LANGUAGES", "LEVELS", "documents", "mini_problem", "mini_task"]

LANGUAGES = {"en": 1 - CHINESE_QUESTION, "zh": CHINESE_QUESTION}


def mini_problem(
    index: int,
    split: Literal["train", "test"],
    *,
    levels: Sequence[int] = (),
    languages: Mapping[str, float] | None = None,
    domains: Mapping[str, float] | None = None,
    seed: int = 0,
) -> Problem:
    """Problem ``index`` of a split. Levels take turns, so every five successive problems hold one of each.

    Raises ``UserError`` for a level, a language or a domain that the world doesn't have.
    """
    task, language = mini_task(index, split, levels=levels, languages=languages, domains=domains, seed=seed)
    world = "-".join(["mini", *sorted(domains or ())])  # other domains number other problems alike
    return Problem(
        id=f"{world}-{split}-{seed}-{index}",
        prompt=task.question(language),
        reference=task.reference(language),
        domain=task.domain,
        level=task.level,
        language=language,
        verifier=task.verifier,
        columns={**task.columns(language), "kind": task.kind},
    )


def mini_task(
    index: int,
    split: Literal["train", "test"],
    *,
    levels: Sequence[int] = (),
    languages: Mapping[str, float] | None = None,
    domains: Mapping[str, float] | None = None,
    seed: int = 0,
) -> tuple[WorldTask, str]:
    """The task behind a problem, which knows how it is solved, and its language."""
    levels, languages, domains = levels or LEVELS, languages or LANGUAGES, domains or REASONING
    unknown = [str(name) for name in (set(levels) - set(LEVELS)) | (set(languages) - set(LANGUAGES))]
    unknown += sorted(set(domains) - set(DOMAINS))
    if unknown:
        raise UserError(
            f"problems: the miniature world has no {', '.join(unknown)}; levels are {', '.join(map(str, LEVELS))}, "
            f"languages {', '.join(LANGUAGES)}, domains {', '.join(DOMAINS)}"
        )
    rng = Random(f"problem/{seed}/{split}/{index}")
    language = weighted(rng, languages)
    domain = weighted(rng, domains)
    return draw_task(rng, domain, levels[index % len(levels)], test=split == "test"), language
