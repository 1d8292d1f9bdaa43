"""Questions to an endpoint, several at a time, answered in order. Left out: how it is spoken to (``rewards``)."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from thinkery.recipe import JudgeSpec
from thinkery.rewards.judges import Endpoint
from thinkery.stages.collecting.samples import Sample
from thinkery.stages.judging import at_once

_THOUGHT = re.compile(r"\A.*</think>", re.DOTALL)  # of a model that thinks aloud


class Asker:
    """Asks an endpoint about samples; the random numbers are the samples' own. ``tell`` hears of its outages."""

    def __init__(self, spec: JudgeSpec, seed: int, stage: str, tell: Callable[[str], None]) -> None:
        self._endpoint = Endpoint(spec, tell)
        self._concurrency, self._seed, self._stage = spec.concurrency, seed, stage

    def ask(self, samples: Sequence[Sample], questions: Sequence[str]) -> list[str]:
        """The reply to every question. Raises ``UserError`` where the endpoint can't be reached."""
        seeds = [sample.seed(self._seed, self._stage) for sample in samples]
        return [_THOUGHT.sub("", reply) for reply in at_once(self._concurrency, self._endpoint.chat, questions, seeds)]
