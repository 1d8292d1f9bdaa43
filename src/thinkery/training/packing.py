"""Sequences of different lengths -> microbatches without padding, each prompt once.

A microbatch is one long row of tokens: per prompt its tokens, then the tokens of its completions one after another.
Everything but attention is per token, so it needs no padding, and a prompt is forwarded once for all its completions
(rows of 16 completions would carry it 16 times). Only attention sees sequences: ``SharedPrefixLayout`` gathers
queries, keys and values into right-padded rows of prompt + completion, attends causally, and scatters back.

Nothing here is random: the same samples give the same microbatches. Left out: what is done with them (``learner.py``),
flash-attention kernels for variable lengths.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from thinkery.models.attention import CausalLayout

# A block of attention rows goes no further than to rows of this share of its longest: padding stays below 30 %.
_LEAST_FILL = 0.7
# Groups don't add up to a worker's share exactly: this much over it is better than one microbatch more.
_UNEVEN = 1.1
# Ranks wait for the largest of their microbatches; filled from pieces of this part of one, they come out alike.
_PIECES = 4


class Tokens(Protocol):
    """A prompt and a completion, as token ids."""

    @property
    def prompt_ids(self) -> Sequence[int]:
        """The prompt; not empty."""
        ...

    @property
    def token_ids(self) -> Sequence[int]:
        """The completion; not empty."""
        ...


class SharedPrefixLayout:
    """Attention for a microbatch: rows of prompt + completion, gathered from one flat row of tokens.

    ``row_index`` lists, for all blocks of rows one after another, the flat position of each cell of the padded
    rectangle; ``blocks`` are the rectangles' (rows, columns); ``cell_N`` says in which cell the output of each flat
    token is read. Padding cells repeat the first token: on the right of a causal row nobody sees them.
    """

    def __init__(self, row_index: Tensor, blocks: Sequence[tuple[int, int]], cell_N: Tensor) -> None:
        self._row_index = row_index
        self.blocks = blocks
        self._cell_N = cell_N
        self._rows = [CausalLayout() for _ in blocks]

    def attend(self, layer_idx: int, query: Tensor, key: Tensor, value: Tensor, scaling: float) -> Tensor:
        """query [1, Hq, N, D], key and value [1, Hkv, N, D] -> output [1, N, Hq, D], differentiable."""
        blocks = zip(self._rows, self._gather(query), self._gather(key), self._gather(value), strict=True)
        attended = [rows.attend(layer_idx, q, k, v, scaling).flatten(0, 1) for rows, q, k, v in blocks]
        return torch.cat(attended).index_select(0, self._cell_N)[None]

    def _gather(self, states: Tensor) -> list[Tensor]:
        """[1, H, N, D] -> one [rows, H, columns, D] a block."""
        flat_ND = states[0].transpose(0, 1)
        cells = flat_ND.index_select(0, self._row_index).split([rows * columns for rows, columns in self.blocks])
        return [
            cell.view(rows, columns, *cell.shape[1:]).transpose(1, 2)
            for cell, (rows, columns) in zip(cells, self.blocks, strict=True)
        ]


@dataclass(frozen=True)
class Microbatch:
    """Some samples, packed. Tokens of completions are in the order of ``indices``.

    ``input_ids_T`` and ``position_ids_T`` are the packed row; ``predictor_N`` is the place in it whose hidden state
    predicts each completion token, ``target_N`` that token; ``lengths_S`` are the completions' lengths.
    """

    indices: tuple[int, ...]
    input_ids_T: Tensor
    position_ids_T: Tensor
    layout: SharedPrefixLayout
    predictor_N: Tensor
    target_N: Tensor
    lengths_S: Tensor


def split_microbatches(
    samples: Sequence[Tokens], indices: Sequence[int], budget: int, workers: int = 1
) -> list[list[int]]:
    """Splits ``indices`` into microbatches of at most ``budget`` cells of padded attention rows, to bound the memory.

    For several ``workers`` they are smaller where that gives each the same to do.

    Samples of one prompt stay together where they fit, so that the prompt is shared; prompts are sorted by their
    longest sequence. A sequence longer than the budget is a microbatch by itself. The order depends on nothing but the
    samples and the order of ``indices``.
    """
    groups: dict[tuple[int, ...], list[int]] = {}
    for index in indices:
        groups.setdefault(tuple(samples[index].prompt_ids), []).append(index)
    lengths = {index: len(samples[index].prompt_ids) + len(samples[index].token_ids) for index in indices}
    for group in groups.values():
        group.sort(key=lambda index: -lengths[index])
    if workers > 1 and indices:
        cells = _cells(list(lengths.values()))
        parts = workers * math.ceil(cells / (budget * workers))
        budget = min(budget, math.ceil(_UNEVEN * cells / parts))
    microbatches: list[list[int]] = []
    current: list[int] = []
    for group in sorted(groups.values(), key=lambda group: -lengths[group[0]]):
        whole = _cells([lengths[index] for index in group]) <= budget
        for piece in [group] if whole else [[index] for index in group]:
            if current and _cells([lengths[index] for index in current + piece]) > budget:
                microbatches.append(current)
                current = []
            current = current + piece
    return [*microbatches, current] if current else microbatches


def split_equal(samples: Sequence[Tokens], indices: Sequence[int], budget: int, ranks: int) -> list[list[int]]:
    """Splits ``indices`` into microbatches for ``ranks`` that wait for one another: equally many each, of one size.

    At most ``budget`` cells each, or one sequence that is longer than that. Fewer than a multiple of ``ranks`` only
    where there are not enough sequences. Samples of one prompt stay together in pieces small enough to even out the
    sizes. The order, largest first, depends on nothing but the samples and the order of ``indices``.
    """
    lengths = {index: len(samples[index].prompt_ids) + len(samples[index].token_ids) for index in indices}
    groups: dict[tuple[int, ...], list[int]] = {}
    for index in sorted(indices, key=lambda index: -lengths[index]):
        groups.setdefault(tuple(samples[index].prompt_ids), []).append(index)
    total = sum(lengths.values())
    count = ranks * max(1, math.ceil(_cells(list(lengths.values())) / (budget * ranks)))
    while True:
        pieces = [piece for group in groups.values() for piece in _pieces(group, lengths, total / count / _PIECES)]
        bins = _fill(pieces, lengths, count, budget)
        if bins is not None:
            return sorted((bin for bin in bins if bin), key=lambda bin: -sum(lengths[index] for index in bin))
        count += ranks


def _pieces(group: Sequence[int], lengths: Mapping[int, int], size: float) -> Iterator[list[int]]:
    """Cuts samples of one prompt into pieces of at most ``size`` tokens, or of one sample."""
    piece: list[int] = []
    for index in group:
        if piece and sum(lengths[i] for i in piece) + lengths[index] > size:
            yield piece
            piece = []
        piece.append(index)
    yield piece


def _fill(pieces: list[list[int]], lengths: Mapping[int, int], count: int, budget: int) -> list[list[int]] | None:
    """Each piece, largest first, into the emptiest of ``count`` bins that has room; None if one fits nowhere."""
    bins: list[list[int]] = [[] for _ in range(count)]
    loads = [0] * count
    for piece in sorted(pieces, key=lambda piece: -sum(lengths[index] for index in piece)):
        for number in sorted(range(count), key=lambda number: loads[number]):
            together = bins[number] + piece
            if not bins[number] or _cells([lengths[index] for index in together]) <= budget:
                bins[number] = together
                loads[number] += sum(lengths[index] for index in piece)
                break
        else:
            return None
    return bins


def sizes_of(samples: Sequence[Tokens], subsets: Sequence[Sequence[int]]) -> list[int]:
    """How much work each microbatch is, in tokens of its rows: for sharing out, not for counting."""
    return [
        sum(len(samples[index].prompt_ids) + len(samples[index].token_ids) for index in subset) for subset in subsets
    ]


def pack(samples: Sequence[Tokens], indices: Sequence[int], device: torch.device) -> Microbatch:
    """Lays the samples of ``indices`` out in one row, each distinct prompt once."""
    ids: list[int] = []
    positions: list[int] = []
    prompt_starts: dict[tuple[int, ...], int] = {}
    predictors: list[int] = []
    rows: list[list[int]] = []  # a sample's places in the packed row, prompt and completion
    for index in indices:
        prompt, completion = tuple(samples[index].prompt_ids), samples[index].token_ids
        if prompt not in prompt_starts:
            prompt_starts[prompt] = len(ids)
            ids += prompt
            positions += range(len(prompt))
        start = prompt_starts[prompt]
        rows.append([*range(start, start + len(prompt)), *range(len(ids), len(ids) + len(completion))])
        predictors += rows[-1][len(prompt) - 1 : -1]
        ids += completion
        positions += range(len(prompt), len(prompt) + len(completion))
    return Microbatch(
        indices=tuple(indices),
        input_ids_T=torch.tensor(ids, device=device),
        position_ids_T=torch.tensor(positions, device=device),
        layout=_layout(rows, len(ids), device),
        predictor_N=torch.tensor(predictors, device=device),
        target_N=torch.tensor([token for index in indices for token in samples[index].token_ids], device=device),
        lengths_S=torch.tensor([len(samples[index].token_ids) for index in indices], device=device),
    )


def _layout(rows: list[list[int]], num_tokens: int, device: torch.device) -> SharedPrefixLayout:
    """The layout of a packed row of ``num_tokens`` in which each sample occupies the places of its row."""
    rows = sorted(rows, key=lambda row: -len(row))
    blocks = list(_blocks([len(row) for row in rows]))
    widths = [columns for count, columns in blocks for _ in range(count)]
    row_index: list[int] = []
    cells = [0] * num_tokens
    for row, width in zip(rows, widths, strict=True):
        for column, place in enumerate(row):  # a prompt's place is in several rows, with the same output in each
            cells[place] = len(row_index) + column
        row_index += row + [0] * (width - len(row))
    return SharedPrefixLayout(torch.tensor(row_index, device=device), blocks, torch.tensor(cells, device=device))


def _cells(lengths: Sequence[int]) -> int:
    return sum(rows * columns for rows, columns in _blocks(sorted(lengths, reverse=True)))


def _blocks(lengths: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Rows of descending ``lengths`` -> (rows, columns) of blocks that are little padded."""
    first = 0
    for row in range(1, len(lengths) + 1):
        if row == len(lengths) or lengths[row] < _LEAST_FILL * lengths[first]:
            yield row - first, lengths[first]
            first = row
