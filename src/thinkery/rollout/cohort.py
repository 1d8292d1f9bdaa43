"""A cohort: completions that started together, their tokens so far, and how they leave.

Rows that have finished decode on, unread, until enough of them are dead to be worth a compaction. Left out: the model
and the sampling, which serve all cohorts at once (``engine.py``), and the attention (``cache.py``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from thinkery.rollout.cache import Cache
from thinkery.rollout.counter import uniforms
from thinkery.rollout.pieces import Piece
from thinkery.rollout.stopping import ENDS, StopRule
from thinkery.types import Completion

# A cohort is compacted when this share of its rows has finished: copying its cache against computing for nobody.
DEAD_SHARE = 0.125
AHEAD = 16  # random numbers that a row draws at once


@dataclass(frozen=True, slots=True)
class Prompt:
    """A problem's prompt, and those of its completions that one cohort samples.

    Either none of the ``pieces`` has begun, and they share the prompt, or it is one that goes on from its tokens.
    """

    problem_id: str
    token_ids: tuple[int, ...]
    pieces: tuple[Piece, ...]

    @property
    def count(self) -> int:
        """How many rows continue it."""
        return len(self.pieces)

    @property
    def text_ids(self) -> tuple[int, ...]:
        """All that the rows continue: the prompt, and what the piece has of its completion."""
        return self.token_ids + self.pieces[0].token_ids


@dataclass(slots=True)
class _Row:
    prompt: Prompt
    piece: Piece
    room: int  # tokens that may still come
    done: bool = False


class Cohort:
    """The completions of some prompts, one row (``_S``) each, all ``length`` tokens longer than when it started.

    ``key_S`` are their random keys, in the order of the prompts and of the pieces within each.
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
        self.length = 0
        self._key_S = key_S
        self._stop = stop
        self._policy_version = policy_version
        self._rows = [
            _Row(prompt, piece, max_length - len(piece.token_ids)) for prompt in prompts for piece in prompt.pieces
        ]
        self._alive = len(self._rows)
        self._next_full = min(row.room for row in self._rows)  # the length at which a row has no room left
        self._begun_S = torch.tensor([len(row.piece.token_ids) for row in self._rows], device=key_S.device)
        self._uniforms_SA = torch.empty(len(self._rows), 0)
        lengths = [len(row.prompt.text_ids) for row in self._rows]
        self._text_length_S = torch.tensor(lengths, device=key_S.device)
        self._tokens_ST = torch.empty(len(self._rows), max_length, dtype=torch.long, device=key_S.device)
        self._logprobs_ST = torch.empty(len(self._rows), max_length, device=key_S.device)

    @property
    def finished(self) -> bool:
        """Whether no completion is left."""
        return self._alive == 0

    def inputs(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The last token of every row and its position in the text, [S] each: what the model reads next."""
        return self._tokens_ST[:, self.length - 1], self._text_length_S + (self.length - 1)

    def draw(self) -> torch.Tensor:
        """The random number of every row's next token, [S] float64."""
        at = self.length % AHEAD
        if at == 0:
            positions_A = torch.arange(self.length, self.length + AHEAD, device=self._key_S.device)
            self._uniforms_SA = uniforms(self._key_S[:, None], self._begun_S[:, None] + positions_A)
        return self._uniforms_SA[:, at]

    def append(self, tokens_S: torch.Tensor, logprobs_S: torch.Tensor, flags_S: torch.Tensor) -> list[Completion]:
        """Adds a token to every row; returns the completions that are over with it."""
        self._tokens_ST[:, self.length] = tokens_S
        self._logprobs_ST[:, self.length] = logprobs_S
        self.length += 1
        full = self.length == self._next_full
        candidates = range(len(self._rows)) if full else flags_S.nonzero()[:, 0].tolist()
        flags = flags_S.tolist() if candidates else []
        completions = []
        for number in candidates:
            row = self._rows[number]
            if row.done:
                continue
            stopped = self._stopped(number, flags[number])
            if stopped or self.length == row.room:
                completions.append(self._complete(number, stopped))
        if full:
            self._next_full = min((row.room for row in self._rows if not row.done), default=0)
        dead = len(self._rows) - self._alive
        if self._alive and dead >= max(1, DEAD_SHARE * len(self._rows)):
            self._compact()
        return completions

    def pieces(self) -> list[Piece]:
        """The completions that are not over, as far as they are."""
        return [self._piece(number) for number, row in enumerate(self._rows) if not row.done]

    def _stopped(self, number: int, flag: int) -> bool:
        if flag == ENDS:
            return True
        if not flag:
            return False
        start = max(0, self.length - self._stop.tail)
        before = self._rows[number].piece.token_ids
        tail = [*before, *self._tokens_ST[number, start : self.length].tolist()][-self._stop.tail :]
        return self._stop.string_ends(tail)

    def _complete(self, number: int, stopped: bool) -> Completion:
        row, whole = self._rows[number], self._piece(number)
        row.done = True
        self._alive -= 1
        return Completion(
            problem_id=whole.problem_id,
            index=whole.index,
            prompt_ids=row.prompt.token_ids,
            token_ids=whole.token_ids,
            logprobs=whole.logprobs,
            text=self._stop.text(whole.token_ids, stopped),
            finish_reason="stop" if stopped else "length",
            policy_version=self._policy_version if whole.policy_version is None else whole.policy_version,
        )

    def _piece(self, number: int) -> Piece:
        """All tokens of a completion so far."""
        begun = self._rows[number].piece
        return replace(
            begun,
            token_ids=begun.token_ids + tuple(self._tokens_ST[number, : self.length].tolist()),
            logprobs=begun.logprobs + tuple(self._logprobs_ST[number, : self.length].tolist()),
            policy_version=self._policy_version if begun.policy_version is None else begun.policy_version,
        )

    def _compact(self) -> None:
        """Forgets the rows that are done, here and in the cache."""
        kept = [number for number, row in enumerate(self._rows) if not row.done]
        kept_S = torch.tensor(kept, device=self._key_S.device)
        self._rows = [self._rows[number] for number in kept]
        self._key_S = self._key_S[kept_S]
        self._begun_S = self._begun_S[kept_S]
        self._uniforms_SA = self._uniforms_SA[kept_S]
        self._text_length_S = self._text_length_S[kept_S]
        self._tokens_ST = self._tokens_ST[kept_S]
        self._logprobs_ST = self._logprobs_ST[kept_S]
        self.cache.keep(kept_S)
