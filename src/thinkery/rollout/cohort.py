"""A cohort: completions that started together, their tokens so far, and how they leave.

Rows that have finished decode on, unread, until enough of them are dead to be worth a compaction. Left out: the model
and the sampling, which serve all cohorts at once (``engine.py``), and the attention (``cache.py``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from thinkery.rollout.cache import Cache
from thinkery.rollout.stopping import ENDS, StopRule
from thinkery.types import Completion

# A cohort is compacted when this share of its rows has finished: copying its cache against computing for nobody.
DEAD_SHARE = 0.125


@dataclass(frozen=True, slots=True)
class Prompt:
    """A problem's prompt, and the range of its completions that one cohort samples."""

    problem_id: str
    token_ids: tuple[int, ...]
    first: int
    count: int


@dataclass(slots=True)
class _Row:
    prompt: Prompt
    index: int
    done: bool = False


class Cohort:
    """The completions of some prompts, one row (``_S``) each, all ``length`` tokens long.

    ``key_S`` are their random keys, in the order of the prompts and of the indices within each.
    """

    def __init__(
        self,
        prompts: Sequence[Prompt],
        cache: Cache,
        key_S: torch.Tensor,
        stop: StopRule,
        *,
        max_length: int,
        policy_version: int,
    ) -> None:
        self.cache = cache
        self.key_S = key_S
        self.length = 0
        self._stop = stop
        self._max_length = max_length
        self._policy_version = policy_version
        self._rows = [_Row(prompt, prompt.first + i) for prompt in prompts for i in range(prompt.count)]
        self._alive = len(self._rows)
        lengths = [len(row.prompt.token_ids) for row in self._rows]
        self._prompt_length_S = torch.tensor(lengths, device=key_S.device)
        self._tokens_ST = torch.empty(len(self._rows), max_length, dtype=torch.long, device=key_S.device)
        self._logprobs_ST = torch.empty(len(self._rows), max_length, device=key_S.device)

    @property
    def finished(self) -> bool:
        """Whether no completion is left."""
        return self._alive == 0

    def inputs(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The last token of every row and its position in the text, [S] each: what the model reads next."""
        return self._tokens_ST[:, self.length - 1], self._prompt_length_S + (self.length - 1)

    def append(self, tokens_S: torch.Tensor, logprobs_S: torch.Tensor, flags_S: torch.Tensor) -> list[Completion]:
        """Adds a token to every row; returns the completions that are over with it."""
        self._tokens_ST[:, self.length] = tokens_S
        self._logprobs_ST[:, self.length] = logprobs_S
        self.length += 1
        full = self.length == self._max_length
        candidates = range(len(self._rows)) if full else flags_S.nonzero()[:, 0].tolist()
        flags = flags_S.tolist() if candidates else []
        completions = []
        for number in candidates:
            if self._rows[number].done:
                continue
            stopped = self._stopped(number, flags[number])
            if stopped or full:
                completions.append(self._complete(number, stopped))
        dead = len(self._rows) - self._alive
        if self._alive and dead >= max(1, DEAD_SHARE * len(self._rows)):
            self._compact()
        return completions

    def _stopped(self, number: int, flag: int) -> bool:
        if flag == ENDS:
            return True
        start = max(0, self.length - self._stop.tail)
        return bool(flag) and self._stop.string_ends(self._tokens_ST[number, start : self.length].tolist())

    def _complete(self, number: int, stopped: bool) -> Completion:
        row = self._rows[number]
        row.done = True
        self._alive -= 1
        token_ids = tuple(self._tokens_ST[number, : self.length].tolist())
        return Completion(
            problem_id=row.prompt.problem_id,
            index=row.index,
            prompt_ids=row.prompt.token_ids,
            token_ids=token_ids,
            logprobs=tuple(self._logprobs_ST[number, : self.length].tolist()),
            text=self._stop.text(token_ids, stopped),
            finish_reason="stop" if stopped else "length",
            policy_version=self._policy_version,
        )

    def _compact(self) -> None:
        """Forgets the rows that are done, here and in the cache."""
        kept = [number for number, row in enumerate(self._rows) if not row.done]
        kept_S = torch.tensor(kept, device=self.key_S.device)
        self._rows = [self._rows[number] for number in kept]
        self.key_S = self.key_S[kept_S]
        self._prompt_length_S = self._prompt_length_S[kept_S]
        self._tokens_ST = self._tokens_ST[kept_S]
        self._logprobs_ST = self._logprobs_ST[kept_S]
        self.cache.keep(kept_S)
