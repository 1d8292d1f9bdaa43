"""The miniature world's general domain: talk, facts, translation, rewriting, instructions, and what to refuse.

Few words and many combinations of them, so that a small model can learn the domain and a split by key makes sense.
Left out: how a response is valued (``preference``), and how much of the domain anybody reads (``corpus``).
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from thinkery.mini.general_facts import fact
from thinkery.mini.general_instructions import instruct
from thinkery.mini.general_language import rewrite, translate
from thinkery.mini.general_requests import harm, howto
from thinkery.mini.general_talk import chat, itself
from thinkery.mini.general_task import GeneralTask, Kind

__all__ = ["KINDS", "GeneralTask", "draw"]

KINDS: dict[Kind, tuple[Callable[[Random, int], GeneralTask], float]] = {
    "chat": (chat, 0.11),
    "self": (itself, 0.07),
    "howto": (howto, 0.08),
    "harm": (harm, 0.12),
    "fact": (fact, 0.12),
    "translate": (translate, 0.12),
    "rewrite": (rewrite, 0.12),
    "instruct": (instruct, 0.26),
}


def draw(rng: Random, level: int) -> GeneralTask:
    """A task of any kind.

    Levels 1 and 2 ask one thing, 3 and 4 two, 5 three at once, where a kind has such steps; the task's own ``level`` is
    then 1, 3 or 5. Talk, facts and requests are of level 1.
    """
    make = rng.choices([make for make, _ in KINDS.values()], [weight for _, weight in KINDS.values()])[0]
    return make(rng, (level + 1) // 2)
