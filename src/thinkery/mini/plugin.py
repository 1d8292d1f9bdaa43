"""The miniature world as a problem source that recipes call ``mini``: problems, demonstrations, and a corpus.

Left out: the world itself (``problems.py`` and the domains), its judges (``preference.py``).
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from thinkery.mini.corpus import documents
from thinkery.mini.general_task import GeneralTask
from thinkery.mini.problems import mini_problem, mini_task
from thinkery.problems.source import EndlessSource
from thinkery.recipe import DataSpec, ProblemSpec
from thinkery.types import Demonstration, Problem, Split


class MiniSource(EndlessSource):
    """The endless miniature world, as a recipe's section narrows it down."""

    def __init__(self, spec: ProblemSpec) -> None:
        self._spec, self._split = spec, _split(spec.split)
        super().__init__(f"the miniature world's {self._split} split")

    def problem(self, index: int) -> Problem:
        """The problem of an index; none is in the other split."""
        spec = self._spec
        return mini_problem(
            index, self._split, levels=spec.levels, languages=spec.languages, domains=spec.domains, seed=spec.seed
        )


class MiniWorld:
    """What the miniature world registers in ``thinkery.problems``."""

    def problems(self, spec: ProblemSpec) -> MiniSource:
        """Its problems. An unknown level, language or domain is a ``UserError`` when the first is drawn."""
        return MiniSource(spec)

    def demonstrations(self, spec: DataSpec) -> list[Demonstration]:
        """What its people write on its general domain: ``spec.n`` demonstrations."""
        assert spec.n is not None  # the recipe refuses an endless source without a number
        return [mini_demonstration(index, spec) for index in range(spec.n)]

    def documents(self, seed: int, start: int = 0) -> Iterator[str]:
        """The corpus, endless, from document ``start`` on."""
        return documents(seed, start)


def mini_demonstration(index: int, spec: DataSpec) -> Demonstration:
    """What a writer of the miniature world answers to its general question ``index``: a competent one, or anybody."""
    split, languages = _split(spec.split), spec.languages or None
    task, language = mini_task(index, split, domains={"general": 1.0}, languages=languages, seed=spec.seed)
    assert isinstance(task, GeneralTask)
    rng = Random(f"demonstration/{spec.seed}/{split}/{index}")
    careful = rng.random() < spec.careful
    written = task.demonstration(rng, language) if careful else task.write(rng, "plain", language, (language,))
    return Demonstration(
        id=f"mini-general-{split}-{spec.seed}-{index}",
        prompt=task.question(language),
        thinking=written.thinking,
        answer=written.answer,
        domain=task.domain,
        language=language,
        level=task.level,
    )


def _split(name: str) -> Split:
    return "test" if name == "test" else "train"


WORLD = MiniWorld()
