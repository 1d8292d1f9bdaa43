"""The vocabulary cut up over the ranks: an embedding and a head whose weights are never gathered.

With 150,000 tokens the embedding and the head are the largest tensors of a model by far. Here each rank keeps its rows
of them. An embedding's rows are fetched from the ranks that have them. For log-probabilities, the hidden states of all
ranks' tokens are gathered, a chunk at a time; each rank takes its part of the vocabulary's logits, and the ranks put
together maximum, sum, chosen logit and entropy (vocabulary-parallel cross-entropy: Shoeybi et al., "Megatron-LM", 2019,
section 3). Like ``training/forward.py`` it recomputes the logits in the backward. The results are those of one process
up to rounding.

What travels is hidden states instead of weights, so it pays where a microbatch of all ranks has fewer completion tokens
than the vocabulary, or where the gathered head doesn't fit. Left out: cutting the vocabulary over a part of the ranks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, distributed, nn
from torch.distributed.tensor import DTensor, Shard
from transformers import PreTrainedModel

from thinkery.cluster.sharded_optimizer import Ranks, rows_of
from thinkery.training.forward import chunk_length, logits_of
from thinkery.types import UserError


class SplitEmbedding(nn.Module):
    """``nn.Embedding`` with its rows on all ranks. Collective, in the forward and in the backward."""

    def __init__(self, weight: nn.Parameter, padding_idx: int | None, ranks: Ranks) -> None:
        super().__init__()
        self.weight = weight
        self._padding_idx = padding_idx
        self._ranks = ranks

    def forward(self, ids: Tensor) -> Tensor:
        """ids of any shape, of this rank's tokens -> [..., D]."""
        fetched = _Fetch.apply(_part(self.weight), ids.flatten(), self.weight.shape[0], self._padding_idx, self._ranks)  # type: ignore[no-untyped-call]
        return cast(Tensor, fetched).view(*ids.shape, -1)


def split_vocabulary(model: PreTrainedModel, ranks: Ranks) -> set[nn.Parameter]:
    """Cuts embedding and head of ``model`` up in place; returns the parameters that came of it: two, or one if tied.

    Raises ``UserError`` if they are more than a table and a matrix, which is all that is known here.
    """
    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
    if type(embedding) is not nn.Embedding or type(head) is not nn.Linear:
        raise UserError(
            f"{type(model).__name__} has an embedding ({type(embedding).__name__}) or a head ({type(head).__name__}) "
            "that parallel_head can't cut up: leave it off"
        )
    tied = head.weight is embedding.weight
    weight = _cut(embedding.weight, ranks)
    model.set_input_embeddings(SplitEmbedding(weight, embedding.padding_idx, ranks))
    head.weight = weight if tied else _cut(head.weight, ranks)
    return {weight, head.weight}


def split_logprobs(
    hidden_ND: Tensor,
    head: nn.Parameter,
    target_N: Tensor,
    *,
    temperature: float,
    valid_vocab: int,
    ranks: Ranks,
    chunk: int | None = None,
) -> tuple[Tensor, Tensor]:
    """``training.forward.token_logprobs`` with the head's rows on all ranks; collective, N may differ.

    ``head`` is the whole parameter [V, D], of which each rank has its rows; those from ``valid_vocab`` on are padding.
    ``chunk`` is how many tokens of each rank are looked at together.
    """
    device = hidden_ND.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else hidden_ND.dtype
    rows = rows_of(head.shape[0], ranks.count, ranks.rank)
    part_VD = _part(head)[: max(0, min(rows.stop, valid_vocab) - rows.start)]
    most = int(ranks.reduced(torch.tensor(len(target_N), device=hidden_ND.device), "max").item())
    chunk = min(chunk or chunk_length(valid_vocab), most)
    cut = _Cut(ranks, rows.start, chunk, -(-most // chunk), dtype)
    with torch.autocast(device, enabled=False):
        outputs = _SplitLogprobs.apply(hidden_ND, part_VD, target_N, temperature, cut)  # type: ignore[no-untyped-call]
    return cast(tuple[Tensor, Tensor], outputs)


def _cut(weight: Tensor, ranks: Ranks) -> nn.Parameter:
    rows = rows_of(weight.shape[0], ranks.count, ranks.rank)
    part = weight.detach()[rows].to(ranks.device, copy=True)
    whole = DTensor.from_local(
        part, ranks.mesh, [Shard(0)], run_check=False, shape=weight.shape, stride=weight.stride()
    )
    return nn.Parameter(whole, requires_grad=weight.requires_grad)


def _part(parameter: nn.Parameter) -> Tensor:
    """This rank's rows, differentiable."""
    assert isinstance(parameter, DTensor)
    return parameter.to_local()


class _Fetch(torch.autograd.Function):
    """Asks each id's owner for its row; the gradient goes back the same way."""

    @staticmethod
    def forward(ctx: Any, part_VD: Tensor, ids_T: Tensor, vocab: int, padding_idx: int | None, ranks: Ranks) -> Tensor:
        each = rows_of(vocab, ranks.count, 0).stop
        owner_T = ids_T // each
        order_T = owner_T.argsort(stable=True)
        asked = torch.bincount(owner_T, minlength=ranks.count)
        given = torch.empty_like(asked)
        distributed.all_to_all_single(given, asked, group=ranks.group)
        asked_counts, given_counts = asked.tolist(), given.tolist()
        wanted_M = ids_T.new_empty(sum(given_counts))
        distributed.all_to_all_single(wanted_M, ids_T[order_T], given_counts, asked_counts, group=ranks.group)
        wanted_M -= ranks.rank * each
        fetched_TD = part_VD.new_empty(len(ids_T), part_VD.shape[1])
        distributed.all_to_all_single(fetched_TD, part_VD[wanted_M], asked_counts, given_counts, group=ranks.group)
        ctx.save_for_backward(order_T, wanted_M)
        ctx.shape, ctx.ranks, ctx.counts = part_VD.shape, ranks, (asked_counts, given_counts)
        ctx.padding = None if padding_idx is None else padding_idx - ranks.rank * each
        return torch.empty_like(fetched_TD).index_copy_(0, order_T, fetched_TD)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None, None]:
        order_T, wanted_M = ctx.saved_tensors
        asked_counts, given_counts = ctx.counts
        grad_MD = grads[0].new_empty(len(wanted_M), ctx.shape[1])
        distributed.all_to_all_single(grad_MD, grads[0][order_T], given_counts, asked_counts, group=ctx.ranks.group)
        if ctx.padding is not None:  # whose row nn.Embedding doesn't learn
            grad_MD[wanted_M == ctx.padding] = 0.0
        grad_VD = grad_MD.new_zeros(ctx.shape).index_add_(0, wanted_M, grad_MD)
        return grad_VD, None, None, None, None


@dataclass(frozen=True)
class _Cut:
    """How the work is cut: ``first`` is this rank's first row; a round takes up to ``chunk`` tokens of each rank."""

    ranks: Ranks
    first: int
    chunk: int
    rounds: int
    dtype: torch.dtype  # of the products

    def gathered(self, values_N: Tensor, number: int) -> Tensor:
        """Round ``number`` of every rank's values, one rank after another, padded with zeros: [ranks * chunk, ...]."""
        mine = values_N[number * self.chunk : (number + 1) * self.chunk]
        padded = mine.new_zeros(self.chunk, *mine.shape[1:])
        padded[: len(mine)] = mine
        return self.ranks.gathered(padded)

    def own(self, values: Tensor, number: int, count: int) -> Tensor:
        """This rank's part of all ranks' values of a round, of ``count`` tokens in all rounds."""
        mine = values[self.ranks.rank * self.chunk : (self.ranks.rank + 1) * self.chunk]
        return mine[: max(0, count - number * self.chunk)]

    def place(self, target: Tensor, rows: int) -> tuple[Tensor, Tensor]:
        """Which targets are among this rank's ``rows``, and in which of them; 0 for those that aren't."""
        here = (target >= self.first) & (target < self.first + rows)
        return here, torch.where(here, target - self.first, 0)


class _SplitLogprobs(torch.autograd.Function):
    """As ``training.forward``: d logp_t / d logits = (onehot(target_t) - softmax) / temperature, a chunk at a time."""

    @staticmethod
    def forward(
        ctx: Any, hidden_ND: Tensor, part_VD: Tensor, target_N: Tensor, temperature: float, cut: _Cut
    ) -> tuple[Tensor, Tensor]:
        head = part_VD.to(cut.dtype)
        logps, entropies, peaks, totals = [], [], [], []
        for number in range(cut.rounds):
            target = cut.gathered(target_N, number)
            logits = logits_of(cut.gathered(hidden_ND.to(cut.dtype), number), head, temperature)
            peak = cut.ranks.reduced(_largest(logits), "max")
            logits -= peak[:, None]
            chosen = _chosen(logits, target, cut)
            exps = logits.exp()
            sums = torch.stack([exps.sum(1), chosen, exps.mul_(logits).sum(1)])
            total, chosen, weighted = cut.ranks.reduced(sums, "sum")
            log_total = total.log()
            logps.append(cut.own(chosen - log_total, number, len(target_N)))
            entropies.append(cut.own(log_total - weighted / total, number, len(target_N)))
            peaks.append(peak)
            totals.append(total)
        logp_N, entropy_N = torch.cat(logps), torch.cat(entropies)
        # Peak and sum apart: their logarithms' sum would round away digits of every probability.
        ctx.save_for_backward(hidden_ND, part_VD, target_N, torch.stack(peaks), torch.stack(totals))
        ctx.temperature, ctx.cut = temperature, cut
        ctx.mark_non_differentiable(entropy_N)
        return logp_N, entropy_N

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        hidden_ND, part_VD, target_N, peaks, totals = ctx.saved_tensors
        cut: _Cut = ctx.cut
        head = part_VD.to(cut.dtype)
        grad_part_VD = torch.zeros_like(part_VD)
        grad_hiddens = []
        for number, (peak, total) in enumerate(zip(peaks, totals, strict=True)):
            hidden, target = cut.gathered(hidden_ND.to(cut.dtype), number), cut.gathered(target_N, number)
            scaled = cut.gathered(grads[0], number) / ctx.temperature
            logits = logits_of(hidden, head, ctx.temperature)
            grad_logits = logits.sub_(peak[:, None]).exp_().mul_((-scaled / total)[:, None])
            if len(head):
                here, place = cut.place(target, len(head))
                grad_logits.scatter_add_(1, place[:, None], (scaled * here)[:, None])
            grad_logits = grad_logits.to(cut.dtype)
            # Parts of a sum, which one process would have taken in this type.
            grad_hidden = cut.ranks.scattered_sum((grad_logits @ head).to(totals.dtype))
            grad_hiddens.append(grad_hidden[: max(0, len(hidden_ND) - number * cut.chunk)])
            grad_part_VD += grad_logits.T @ hidden
        return torch.cat(grad_hiddens).to(hidden_ND.dtype), grad_part_VD, None, None, None


def _largest(logits: Tensor) -> Tensor:
    """Each token's largest logit of this rank's, which may be none."""
    return logits.amax(dim=1) if logits.shape[1] else logits.new_full((len(logits),), float("-inf"))


def _chosen(logits: Tensor, target: Tensor, cut: _Cut) -> Tensor:
    """The logit of each token's target if it is this rank's, else 0."""
    if not logits.shape[1]:
        return logits.new_zeros(len(logits))
    here, place = cut.place(target, logits.shape[1])
    return logits.gather(1, place[:, None])[:, 0] * here
