"""Keys and values of decoding: a prompt's are kept once, its completions' beside them.

Completions that start together form a cohort. They are all of one age, so their own keys fill the same columns and
need no mask, and rows drop out of the cohort as they finish. ``Cache`` is one cohort's memory and attention;
``DecodeLayout`` lets the rows of several cohorts pass through the model as one batch. Left out: paging, and sharing of
prompts between cohorts.

Attention over prompt and completion is one softmax over two sets of scores. The prompt's are computed per problem, all
its completions' queries in one matrix; the completion's per row and key head, the query heads that share it in one
matrix. Keys and values are never copied, not per completion and not per query head.

Flat axes: ``_R`` is (row, key head), ``_Q`` is (row, query head); problems likewise ``_PH``.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from thinkery.models.attention import CausalLayout
from thinkery.rollout.kernels import CacheView, addresses

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
