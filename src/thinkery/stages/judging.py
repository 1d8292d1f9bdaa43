"""Opens the judge that a recipe names, and asks it many questions at once. Left out: what is asked."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from thinkery.recipe import JudgeSpec
from thinkery.rewards.judges import EndpointJudge
from thinkery.types import Judge

_Q = TypeVar("_Q")
_A = TypeVar("_A")


def open_judge(spec: JudgeSpec, tell: Callable[[str], None]) -> Judge:
    """The judge of a recipe: the miniature world's labeller or true preference, or an endpoint.

    ``tell`` hears of an endpoint's outages.
    """
    if spec.source == "mini":
        from thinkery.problems.mini.preference import Labeller

        return Labeller()
    if spec.source == "mini-true":
        from thinkery.problems.mini.preference import TrueJudge

        return TrueJudge()
    return EndpointJudge(spec, tell)


def ask_all(judge: Judge, ask: Callable[[_Q], _A], questions: Sequence[_Q]) -> Iterator[_A]:
    """``ask`` of every question, as many at once as the judge takes, in the order of the questions."""
    return at_once(judge.concurrency, ask, questions)


def at_once(concurrency: int, ask: Callable[..., _A], *questions: Sequence[Any]) -> Iterator[_A]:
    """``map(ask, *questions)`` with so many calls at once, from threads, in the order of the questions."""
    if concurrency == 1:
        yield from map(ask, *questions)
        return
    with ThreadPoolExecutor(concurrency, thread_name_prefix="ask") as pool:
        try:
            yield from pool.map(ask, *questions)
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)  # what is asked already ends by its own deadline
            raise
