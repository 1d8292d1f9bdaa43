"""The native engine's sampling inside vLLM: a logits processor that draws the token itself.

vLLM gives the logits; temperature, truncation and the choice of the token are ``rollout/sampling.py``'s, with the
uniform numbers of ``rollout/sampling.py``. So a completion draws the numbers that the native engine would draw,
whatever shares its batch, and its log-probabilities are those before truncation, which vLLM itself can't report at a
temperature other than 1. The processor leaves one finite logit a row, the drawn token's, and its value is the
log-probability: vLLM's greedy choice takes the token, and its mode ``processed_logits`` reports the value.

Imported by vLLM, in the processes that hold its model. Left out: requests that aren't this project's, which pass
unchanged; speculative decoding; vLLM's second model runner, whose processors are of another kind.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from vllm.v1.sample.logits_processor import BatchUpdate, LogitsProcessor, process_dict_updates

from thinkery.rollout.sampling import sample, uniforms
from thinkery.types import Sampling

if TYPE_CHECKING:
    from vllm import SamplingParams
    from vllm.config import VllmConfig

ARGUMENT = "thinkery"  # under which a request says how its tokens are drawn


def draw_argument(key: int, begun: int, sampling: Sampling, vocabulary: int) -> dict[str, Any]:
    """``SamplingParams.extra_args`` of a completion: its random key, how many tokens it has, what draws the others."""
    return {ARGUMENT: [key, begun, sampling.temperature, sampling.top_k, sampling.top_p, vocabulary]}


class CounterBasedDraw(LogitsProcessor):  # type: ignore[misc]  # vLLM has types only where it is installed
    """Draws the token of every row whose request carries a ``draw_argument``."""

    def __init__(self, vllm_config: VllmConfig, device: torch.device, is_pin_memory: bool) -> None:
        self._device = device
        self._rows: dict[int, _Row] = {}
        self._groups: list[_Group] | None = None  # None: the batch has changed since they were made

    def is_argmax_invariant(self) -> bool:
        """It changes which token is the most probable one: that is its purpose."""
        return False

    def update_state(self, batch_update: BatchUpdate | None) -> None:
        """Follows which request sits in which row of the batch."""
        if process_dict_updates(self._rows, batch_update, _row_of) or batch_update is not None:
            self._groups = None

    def apply(self, logits: torch.Tensor) -> torch.Tensor:
        """logits [S, V] float32 -> the same tensor, each drawn row all -inf but for the token's log-probability."""
        if self._groups is None:
            self._groups = _grouped(self._rows, self._device)
        for group in self._groups:
            positions = torch.tensor([row.begun + len(row.drawn) for row in group.rows], device=self._device)
            rows_RV = logits if len(group.rows) == len(logits) else logits[group.row_R]
            u_R = uniforms(group.key_R, positions)
            tokens_R, logprobs_R = sample(rows_RV[:, : group.vocabulary], u_R, group.sampling)
            logits[group.row_R] = -torch.inf
            logits[group.row_R, tokens_R] = logprobs_R
        return logits


class _Row:
    """A request's part: how it is drawn, and its tokens so far, a list that vLLM goes on filling."""

    def __init__(self, argument: Sequence[Any], drawn: list[int]) -> None:
        self.key, self.begun, *settings = argument
        self.settings, self.drawn = tuple(settings), drawn


class _Group:
    """Rows [R] that are drawn by the same settings."""

    def __init__(self, rows: dict[int, _Row], settings: tuple[Any, ...], device: torch.device) -> None:
        temperature, top_k, top_p, self.vocabulary = settings
        self.sampling = Sampling(temperature=temperature, top_k=top_k, top_p=top_p)
        self.row_R = torch.tensor(list(rows), device=device)
        self.key_R = torch.tensor([row.key for row in rows.values()], device=device)
        self.rows = list(rows.values())


def _row_of(params: SamplingParams, prompt_ids: list[int] | None, drawn: list[int]) -> _Row | None:
    argument = (params.extra_args or {}).get(ARGUMENT)
    return None if argument is None else _Row(argument, drawn)


def _grouped(rows: dict[int, _Row], device: torch.device) -> list[_Group]:
    by_settings: dict[tuple[Any, ...], dict[int, _Row]] = {}
    for index in sorted(rows):
        by_settings.setdefault(rows[index].settings, {})[index] = rows[index]
    return [_Group(members, settings, device) for settings, members in by_settings.items()]
