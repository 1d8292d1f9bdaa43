"""Keys and values of decoding: a prompt's are kept once; completions that started together form a cohort of one age.

A cohort needs no mask over its completions' keys, and finished rows drop out of it. Left out: when a cohort starts
(``engine.py``), what a decoding step computes (``decoder.py``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from thinkery.models.attention import CausalLayout
from thinkery.rollout.base import ENDS, PartialCompletion, StopRule, Stops, uniforms
from thinkery.rollout.native.kernels import CacheView, addresses
from thinkery.types import Completion, Sampling

# Columns of completion cache that are allocated at once. Blocks are contiguous, which batched products need to be fast
# (a slice of wider rows is copied first), and never move when a completion grows. The part not yet written costs as
# much as the written one, so they are small.
BLOCK = 32


class PrefillLayout(CausalLayout):
    """Causal attention over prompts that also records their keys and values, a pair a layer, [P, Hkv, T, D] each."""

    def __init__(self) -> None:
        super().__init__()
        self.group = 1  # query heads that share a key head
        self.keys_values: list[tuple[torch.Tensor, torch.Tensor]] = []

    def attend(
        self, layer_idx: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scaling: float
    ) -> torch.Tensor:
        """See ``CausalLayout``. Layers come in order."""
        self.group = query.shape[1] // key.shape[1]
        self.keys_values.append((key, value))
        return super().attend(layer_idx, query, key, value, scaling)


class Cache:
    """The memory of one cohort: P prompts, and S rows that continue them.

    ``age`` is how many completion tokens each row holds.
    """

    def __init__(
        self,
        prefilled: Sequence[PrefillLayout],
        prompt_lengths_P: torch.Tensor,
        problem_S: torch.Tensor,
        dtype: torch.dtype,
    ) -> None:
        """``prefilled`` holds the prompts, batch after batch, right-padded to one length; ``problem_S`` is the prompt
        of each row, ascending; ``dtype`` is what keys and values are kept in.
        """
        self.age = 0
        self.dtype = dtype
        self._group, self._kv_heads = prefilled[0].group, prefilled[0].keys_values[0][0].shape[1]
        layers = zip(*(batch.keys_values for batch in prefilled), strict=True)
        self._prompt = [
            (_stack(keys, dtype), _stack(values, dtype)) for keys, values in (zip(*p, strict=True) for p in layers)
        ]
        self._blocks: list[list[tuple[torch.Tensor, torch.Tensor]]] = [[] for _ in self._prompt]
        columns_T = torch.arange(self._prompt_columns, device=problem_S.device)
        padding_PT = torch.where(columns_T >= prompt_lengths_P[:, None], -torch.inf, 0.0)
        self._bias_S1T = padding_PT.to(dtype)[problem_S][:, None]
        self._prompt_lengths_P = prompt_lengths_P
        self._view: CacheView | None = None
        self._index(problem_S)

    @property
    def rows(self) -> int:
        """S, how many rows the cohort still has."""
        return len(self._problem_S)

    def advance(self) -> None:
        """Opens the next column; every layer's ``attend`` then fills it."""
        if self.age % BLOCK == 0:
            flat, device = self.rows * self._kv_heads, self._bias_S1T.device
            width = self._prompt[0][0].shape[2]
            for blocks in self._blocks:  # zeros: what is not written yet has weight 0, and 0 * garbage may be NaN
                blocks.append(
                    (
                        torch.zeros(flat, BLOCK, width, dtype=self.dtype, device=device),
                        torch.zeros(flat, BLOCK, width, dtype=self.dtype, device=device),
                    )
                )
            unwritten = self._bias_S1T.new_full((self.rows, 1, BLOCK), -torch.inf)
            self._bias_S1T = torch.cat([self._bias_S1T, unwritten], -1)
            self._view = None
        self._bias_S1T[:, :, self._prompt_columns + self.age] = 0
        self.age += 1

    def attend(self, layer_idx: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        """One token a row, kept in the open column: scaled query [S, Hq, D], key, value [S, Hkv, D] -> [S, Hq, D]."""
        rows, _, width = query.shape
        blocks = self._blocks[layer_idx]
        column = (self.age - 1) % BLOCK
        blocks[-1][0][:, column] = key.reshape(-1, width)
        blocks[-1][1][:, column] = value.reshape(-1, width)

        query_RGD = query.reshape(-1, self._group, width)
        scores = [self._prompt_scores(layer_idx, query)]
        scores += [torch.bmm(query_RGD, keys.mT) for keys, _ in blocks]
        scores_RGT = torch.cat(scores, -1)
        scores_RGT.view(rows, -1, scores_RGT.shape[-1]).add_(self._bias_S1T)
        widths = [self._prompt_columns] + [BLOCK] * len(blocks)

        prompt_RGT, *block_weights = torch.split_with_sizes(scores_RGT.softmax(-1), widths, -1)
        outputs = [self._prompt_output(layer_idx, prompt_RGT)]
        outputs += [torch.bmm(weights, values) for (_, values), weights in zip(blocks, block_weights, strict=True)]
        return torch.stack(outputs).sum(0).view(query.shape)  # added up in fp32, rounded once

    def view(self) -> CacheView:
        """Where everything is, for a compiled ``attend``; right until the next ``advance`` or ``keep``."""
        if self._view is None:
            layers = range(len(self._prompt))
            prompt = [pair[which].data_ptr() for pair in self._prompt for which in (0, 1)]
            blocks = [pair[which].data_ptr() for at in layers for which in (0, 1) for pair in self._blocks[at]]
            self._view = CacheView(
                rows=self.rows,
                prompt_columns=self._prompt_columns,
                block=BLOCK,
                problem=self._problem_S.data_ptr(),
                prompt_length=self._prompt_lengths_P.data_ptr(),
                prompt=addresses(prompt),
                blocks=addresses(blocks),
            )
        self._view.age = self.age
        return self._view

    def keep(self, rows: torch.Tensor) -> None:
        """Drops all rows but these (ascending), and the prompts that no row continues any more."""
        self._bias_S1T = self._bias_S1T[rows]
        for blocks in self._blocks:
            blocks[:] = [(self._rows_of(keys, rows), self._rows_of(values, rows)) for keys, values in blocks]
        prompts, problem_S = torch.unique(self._problem_S[rows], return_inverse=True)
        self._prompt = [(self._rows_of(keys, prompts), self._rows_of(values, prompts)) for keys, values in self._prompt]
        self._prompt_lengths_P = self._prompt_lengths_P[prompts]
        self._view = None
        self._index(problem_S)

    @property
    def _prompt_columns(self) -> int:
        return self._prompt[0][0].shape[1]

    def _rows_of(self, flat: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """Selects rows (or prompts) from [rows * Hkv, ...]."""
        return flat.view(-1, self._kv_heads, *flat.shape[1:]).index_select(0, rows).flatten(0, 1)

    def _index(self, problem_S: torch.Tensor) -> None:
        """Maps (row, query head) to (prompt, key head, place): every prompt has places for the most rows that any has.

        The places that a prompt doesn't need repeat row 0 and are never read.
        """
        self._problem_S = problem_S
        counts_P = problem_S.bincount()
        places = int(counts_P.max())
        rows = torch.arange(len(problem_S), device=problem_S.device)
        place_S = rows - (counts_P.cumsum(0) - counts_P)[problem_S]
        heads = torch.arange(self._kv_heads, device=problem_S.device)[:, None]
        members = torch.arange(self._group, device=problem_S.device)
        prompt_head = problem_S[:, None, None] * self._kv_heads + heads
        self._from_prompt_Q = ((prompt_head * places + place_S[:, None, None]) * self._group + members).flatten()
        cells = len(counts_P) * self._kv_heads * places * self._group
        self._to_prompt = torch.zeros(cells, dtype=torch.long, device=problem_S.device)
        self._to_prompt[self._from_prompt_Q] = torch.arange(len(self._from_prompt_Q), device=problem_S.device)

    def _prompt_scores(self, layer_idx: int, query: torch.Tensor) -> torch.Tensor:
        """query [S, Hq, D] -> scores of the prompt's keys [S * Hkv, group, T]."""
        keys_PHTD = self._prompt[layer_idx][0]
        width = query.shape[-1]
        queries = query.reshape(-1, width).index_select(0, self._to_prompt).view(len(keys_PHTD), -1, width)
        scores = torch.bmm(queries, keys_PHTD.mT).view(-1, self._prompt_columns)
        return scores.index_select(0, self._from_prompt_Q).view(-1, self._group, self._prompt_columns)

    def _prompt_output(self, layer_idx: int, weights_RGT: torch.Tensor) -> torch.Tensor:
        """Weights of the prompt's values [S * Hkv, group, T] -> their sum [S * Hkv, group, D]."""
        values_PHTD = self._prompt[layer_idx][1]
        weights = weights_RGT.reshape(-1, self._prompt_columns).index_select(0, self._to_prompt)
        output = torch.bmm(weights.view(len(values_PHTD), -1, self._prompt_columns), values_PHTD)
        width = output.shape[-1]
        return output.view(-1, width).index_select(0, self._from_prompt_Q).view(-1, self._group, width)


class DecodeLayout:
    """One token a row, the rows of all cohorts one after the other, as a layout for ``hidden_states``."""

    def __init__(self, caches: list[Cache]) -> None:
        self._caches = caches

    def attend(
        self, layer_idx: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scaling: float
    ) -> torch.Tensor:
        """query [B, Hq, 1, D], key and value [B, Hkv, 1, D] -> output [B, 1, Hq, D]."""
        dtype = self._caches[0].dtype
        with torch.autocast(query.device.type, enabled=False):  # it would cast the whole cache at every product
            query, key, value = (tensor[:, :, 0].to(dtype) for tensor in (query * scaling, key, value))
            sizes = [cache.rows for cache in self._caches]
            parts = zip(self._caches, *(torch.split_with_sizes(t, sizes) for t in (query, key, value)), strict=True)
            outputs = [cache.attend(layer_idx, q, k, v) for cache, q, k, v in parts]
        return (outputs[0] if len(outputs) == 1 else torch.cat(outputs))[:, None]


def _stack(batches: Sequence[torch.Tensor], dtype: torch.dtype) -> torch.Tensor:
    """Batches of [P, Hkv, T, D] -> [all P * Hkv, T, D], contiguous."""
    return torch.cat([batch.to(dtype) for batch in batches]).flatten(0, 1)


# A cohort is compacted when this share of its rows has finished: copying its cache against computing for nobody.
DEAD_SHARE = 0.125
AHEAD = 16  # random numbers that a row draws at once


@dataclass(frozen=True, slots=True)
class Prompt:
    """A problem's prompt, and those of its completions that one cohort samples.

    Either none of the ``partials`` has begun, and they share the prompt, or it is one that is resumed from its tokens.
    """

    problem_id: str
    token_ids: tuple[int, ...]
    partials: tuple[PartialCompletion, ...]

    @property
    def count(self) -> int:
        """How many rows continue it."""
        return len(self.partials)

    @property
    def text_ids(self) -> tuple[int, ...]:
        """All that the rows continue: the prompt, and what the piece has of its completion."""
        return self.token_ids + self.partials[0].token_ids


@dataclass(slots=True)
class _Row:
    prompt: Prompt
    partial: PartialCompletion
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
            _Row(prompt, partial, max_length - len(partial.token_ids))
            for prompt in prompts
            for partial in prompt.partials
        ]
        self._alive = len(self._rows)
        self._next_full = min(row.room for row in self._rows)  # the length at which a row has no room left
        self._begun_S = torch.tensor([len(row.partial.token_ids) for row in self._rows], device=key_S.device)
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

    def partials(self) -> list[PartialCompletion]:
        """The completions that are not over, as far as they are."""
        return [self._piece(number) for number, row in enumerate(self._rows) if not row.done]

    def _stopped(self, number: int, flag: int) -> bool:
        if flag == ENDS:
            return True
        if not flag:
            return False
        start = max(0, self.length - self._stop.tail)
        before = self._rows[number].partial.token_ids
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

    def _piece(self, number: int) -> PartialCompletion:
        """All tokens of a completion so far."""
        begun = self._rows[number].partial
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


@dataclass(frozen=True, slots=True)
class Share:
    """Prompts, and how they are continued.

    ``max_slots`` is how many completions decode at a time, ``keyed_by`` the (seed, stage) of the random numbers,
    ``version`` the policy's.
    """

    prompts: tuple[Prompt, ...]
    sampling: Sampling
    ends: Stops
    max_slots: int
    keyed_by: tuple[int, str]
    version: int
