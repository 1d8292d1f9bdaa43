"""What every rollout backend has in common: how tokens are drawn, what ends a completion, interruption and resumption.

From logits to tokens: counter-based uniform numbers, temperature, top-k, top-p, inverse-CDF sampling. The uniform
number of a token is a hash of (seed, stage, step, problem, completion, position), so it does not depend on slots, order
or batch, and a resumed run draws what the interrupted one would have drawn (Salmon et al. 2011).

A backend implements ``RolloutBase``: it turns problems into completions of one policy version, streamed as they finish.
An interrupted call leaves ``PartialCompletion``s: tokens so far with their log-probabilities, for a later call to
resume from. Left out: where the logits come from (``native``, ``vllm``).
"""

from __future__ import annotations

import hashlib
import json
import threading
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch.nn import functional
from transformers import PreTrainedTokenizerBase

from thinkery.models.loading import Policy
from thinkery.rollout.native.kernels import kernels
from thinkery.types import Completion, Problem, Rollout, Sampling, UserError

_GOLDEN = 0x9E3779B97F4A7C15
_MIX_1, _MIX_2 = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB


def completion_key(seed: int, stage: str, step: int, problem_id: str, index: int) -> int:
    """The key of one completion, as a signed 64-bit integer (torch has no unsigned arithmetic)."""
    named = json.dumps([seed, stage, step, problem_id, index])  # unambiguous where joined strings would not be
    return int.from_bytes(hashlib.blake2b(named.encode(), digest_size=8).digest(), "big", signed=True)


def uniforms(keys: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    """int64 keys and positions, broadcast against one another -> float64 in [0, 1), 53 random bits each.

    splitmix64 (Steele, Lea and Flood, OOPSLA 2014): the key is the generator's state and the position the number of
    steps it has taken. int64 products wrap around, as the unsigned ones of the paper do.
    """
    state = scramble(keys + (positions + 1) * _signed(_GOLDEN))
    return _shift_right(state, 11).double() * 2.0**-53


def scramble(state: torch.Tensor) -> torch.Tensor:
    """splitmix64's mixing of int64 numbers, one to one; 0 stays 0."""
    state = (state ^ _shift_right(state, 30)) * _signed(_MIX_1)
    state = (state ^ _shift_right(state, 27)) * _signed(_MIX_2)
    return state ^ _shift_right(state, 31)


def _signed(constant: int) -> int:
    return constant - (1 << 64) if constant >= 1 << 63 else constant


def _shift_right(values: torch.Tensor, bits: int) -> torch.Tensor:
    """The logical shift: torch's own keeps the sign."""
    return (values >> bits) & ((1 << (64 - bits)) - 1)


_BLOCK = 64  # tokens whose weights are summed as one
_NUCLEUS = 64  # tokens looked at first for top-p; a nucleus is rarely larger


def check(sampling: Sampling) -> None:
    """Raises ``UserError`` naming the first field that makes no sense."""
    allowed = {
        "num_generations": (sampling.num_generations >= 1, "1 or more"),
        "temperature": (sampling.temperature >= 0, "0 (greedy) or more"),
        "top_p": (0 < sampling.top_p <= 1, "above 0 and at most 1 (1 switches it off)"),
        "top_k": (sampling.top_k >= 0, "0 (off) or more"),
        "max_completion_length": (sampling.max_completion_length >= 1, "1 or more"),
    }
    for name, (fine, words) in allowed.items():
        if not fine:
            raise UserError(f"sampling.{name} is {getattr(sampling, name)}: must be {words}")


def sample(logits_SV: torch.Tensor, u_S: torch.Tensor, sampling: Sampling) -> tuple[torch.Tensor, torch.Tensor]:
    """Draws one token a row.

    logits [S, V] over the valid vocabulary, float32 or the compute type, u [S] float64 in [0, 1) -> tokens [S]
    int64 and their log-probabilities [S] float32 at the sampling temperature, before truncation. Temperature 0 takes
    the most probable token and reports its log-probability at temperature 1.
    """
    plain = sampling.temperature > 0 and not sampling.top_k and sampling.top_p == 1
    if plain and logits_SV.device.type == "cpu" and logits_SV.stride(1) == 1:
        compiled = kernels(logits_SV.dtype)
        if compiled is not None:
            return compiled.sample(logits_SV, u_S.contiguous(), sampling.temperature)
    logits_SV = logits_SV.float()
    if sampling.temperature == 0:
        tokens_S = logits_SV.argmax(-1)
        return tokens_S, logits_SV.gather(1, tokens_S[:, None])[:, 0] - logits_SV.logsumexp(-1)
    if sampling.temperature != 1:
        logits_SV = logits_SV / sampling.temperature
    probs_SV = logits_SV.softmax(-1)
    if sampling.top_k or sampling.top_p < 1:
        kept_SK, ids_SK = _truncate(probs_SV, sampling)
        tokens_S = ids_SK.gather(1, _invert(kept_SK, u_S)[:, None])[:, 0]
    else:
        tokens_S = _invert(probs_SV, u_S)
    return tokens_S, probs_SV.gather(1, tokens_S[:, None])[:, 0].log()


def _invert(weights_SK: torch.Tensor, u_S: torch.Tensor) -> torch.Tensor:
    """The first index at which the running sum of unnormalised weights exceeds u times their total.

    Blocks are summed first, and only the one that holds the index is gone through: a running sum can't be vectorised.
    """
    if weights_SK.shape[1] <= _BLOCK:
        cumulative_SK = weights_SK.cumsum(-1)
        return _first_above(cumulative_SK, u_S * cumulative_SK[:, -1])
    weights_SBK = functional.pad(weights_SK, (0, -weights_SK.shape[1] % _BLOCK)).view(len(weights_SK), -1, _BLOCK)
    sums_SB = weights_SBK.sum(-1).cumsum(-1)
    threshold_S = u_S * sums_SB[:, -1]
    block_S = _first_above(sums_SB, threshold_S)
    before_S = functional.pad(sums_SB, (1, 0)).gather(1, block_S[:, None])[:, 0]
    inside_SK = weights_SBK[torch.arange(len(block_S), device=block_S.device), block_S].cumsum(-1)
    return block_S * _BLOCK + _first_above(inside_SK, threshold_S - before_S)


def _first_above(cumulative_SK: torch.Tensor, threshold_S: torch.Tensor) -> torch.Tensor:
    """The first index whose running sum exceeds the threshold; rounding may lift that to the total, but no further."""
    total_S = cumulative_SK[:, -1]
    reachable_S = torch.minimum(threshold_S.to(total_S.dtype), total_S.nextafter(torch.zeros_like(total_S)))
    return torch.searchsorted(cumulative_SK, reachable_S[:, None], right=True)[:, 0]


def _truncate(probs_SV: torch.Tensor, sampling: Sampling) -> tuple[torch.Tensor, torch.Tensor]:
    """The kept probabilities [S, K], most probable first, 0 where cut off, with their token ids [S, K].

    top-k first, then top-p over what it left, renormalised, as transformers orders them. A token stays while the mass
    before it is below top-p, so the most probable one always stays (Holtzman et al. 2020, nucleus sampling).
    """
    vocabulary = probs_SV.shape[1]
    limit = min(sampling.top_k or vocabulary, vocabulary)
    width = min(limit, max(_NUCLEUS, sampling.top_k))
    while True:  # a full sort costs more than the rest of the step, so widen only when some nucleus needs it
        kept_SK, ids_SK = probs_SV.topk(width, dim=-1)
        cumulative_SK = kept_SK.cumsum(-1)
        mass_S1 = cumulative_SK[:, -1:] if sampling.top_k else torch.ones_like(kept_SK[:, :1])
        if width == limit or bool((cumulative_SK[:, -1:] >= sampling.top_p * mass_S1).all()):
            return kept_SK.masked_fill(cumulative_SK - kept_SK >= sampling.top_p * mass_S1, 0.0), ids_SK
        width = min(limit, width * 8)


@dataclass(frozen=True, slots=True)
class PartialCompletion:
    """The beginning of a completion; without tokens it is one that has not begun.

    ``step`` is the one whose random numbers it draws. ``policy_version`` sampled its first token; None before that.
    """

    problem_id: str
    index: int
    step: int
    token_ids: tuple[int, ...] = ()
    logprobs: tuple[float, ...] = ()
    policy_version: int | None = None


class ResumableRollout(Rollout, Protocol):
    """A rollout whose calls can be interrupted and resumed. ``unfinished`` is what the last call did not finish."""

    @property
    def unfinished(self) -> Sequence[PartialCompletion]:
        """The unfinished completions of the last call, once its iterator is exhausted."""
        ...

    def resume(
        self,
        problems: Sequence[Problem],
        partials: Sequence[PartialCompletion],
        sampling: Sampling,
        *,
        seed: int,
        stage: str,
    ) -> Iterator[Completion]:
        """Finishes partial completions of these ``problems``, and yields them as they finish."""
        ...

    def interrupt(self) -> None:
        """Ends the present call soon, from any thread: its iterator runs out, and ``unfinished`` is what is missing."""
        ...


def fresh(problems: Iterable[Problem], num_generations: int, step: int) -> list[PartialCompletion]:
    """The completions of a step's problems, none of them begun."""
    return [PartialCompletion(problem.id, index, step) for problem in problems for index in range(num_generations)]


Stops = tuple[tuple[int, ...], tuple[str, ...]]  # what ends a completion: tokens, and strings
RUNS, ENDS, MAY_END = 0, 1, 2  # what a token means for the completion that it was sampled for
_REPLACEMENT = "\ufffd"  # what a tokenizer shows for a part of a character


class StopRule:
    """The stop tokens and strings of one ``generate`` call.

    ``flags_V`` [vocabulary] uint8 says of every token whether it ends a completion, or may complete a stop string.
    ``tail`` is how many last tokens are enough to see whether it did.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        vocabulary: int,
        token_ids: Sequence[int],
        strings: Sequence[str],
        device: torch.device,
    ) -> None:
        if "" in strings:
            raise UserError("a stop string is empty: every completion would end before it starts")
        self._tokenizer = tokenizer
        self._token_ids = frozenset(token_ids)
        self._strings = tuple(dict.fromkeys(strings))
        # Every token has a byte or more, so this many tokens hold the longest string; a few may decode to nothing.
        self.tail = max((len(string.encode()) for string in strings), default=0) + 4
        self.flags_V = torch.full((vocabulary,), RUNS, dtype=torch.uint8)
        if strings:
            pieces = tokenizer.batch_decode(
                [[token] for token in range(vocabulary)], clean_up_tokenization_spaces=False
            )
            may_end = [token for token, piece in enumerate(pieces) if _may_complete(piece, self._strings)]
            self.flags_V[may_end] = MAY_END
        self.flags_V[[token for token in self._token_ids if token < vocabulary]] = ENDS
        self.flags_V = self.flags_V.to(device)

    def string_ends(self, token_ids: Sequence[int]) -> bool:
        """Whether a completion with these last tokens (``tail`` of them, if it has so many) holds a stop string."""
        tail = self._decode(token_ids)
        return any(string in tail for string in self._strings)

    def text(self, token_ids: Sequence[int], stopped: bool) -> str:
        """The decoded completion; if it was stopped, without the stop token, or up to the stop string."""
        if not stopped:
            return self._decode(token_ids)
        if token_ids[-1] in self._token_ids:
            return self._decode(token_ids[:-1])
        text = self._decode(token_ids)
        return text[: min((at for string in self._strings if (at := text.find(string)) >= 0), default=len(text))]

    def _decode(self, token_ids: Sequence[int]) -> str:
        # Special tokens stay visible: a tokenizer may call the thinking tags special.
        return str(
            self._tokenizer.decode(list(token_ids), skip_special_tokens=False, clean_up_tokenization_spaces=False)
        )


def _may_complete(piece: str, strings: Sequence[str]) -> bool:
    """Whether a token that decodes to ``piece`` can hold the end of one of the strings.

    Up to each place where it could end, the piece must end with the string, or be the end of it. A blank that a
    tokenizer drops from a token's beginning takes nothing from that. Where the piece shows a part of a character, all
    that is certain is that a last character of one byte would be seen.
    """
    if _REPLACEMENT in piece:
        return any(len(string[-1].encode()) > 1 or string[-1] in piece for string in strings)
    return any(string[-1] in piece and _holds_the_end(piece, string) for string in strings)


def _holds_the_end(piece: str, string: str) -> bool:
    heads = [piece[: at + 1] for at, character in enumerate(piece) if character == string[-1]]
    return any(head.endswith(string) or string.endswith(head) for head in heads)


def check_request(problems: Sequence[Problem], sampling: Sampling) -> None:
    """Raises ``UserError`` for settings that make no sense, and for a problem that is asked for twice."""
    check(sampling)
    for problem_id, times in Counter(problem.id for problem in problems).items():
        if times > 1:
            raise UserError(f"problem {problem_id} is asked for twice: its completions would be the same")


def encode(policy: Policy, problem: Problem, sampling: Sampling, context: int | None) -> tuple[int, ...]:
    """The prompt's tokens. Raises ``UserError`` if there are none, or too many for a ``context`` of so many tokens."""
    token_ids = policy.encode_prompt(problem)
    if not token_ids:
        raise UserError(f"problem {problem.id}: its prompt is empty under template {policy.template.name}")
    if context is not None and len(token_ids) + sampling.max_completion_length > context:
        raise UserError(
            f"problem {problem.id}: a prompt of {len(token_ids)} tokens and max_completion_length "
            f"{sampling.max_completion_length} exceed the model's context of {context}: lower it"
        )
    return token_ids


class StopConditions:
    """What ends a completion: the policy's tokens and its template's strings, with those that are asked for."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._last: tuple[Stops, StopRule] | None = None

    def asked(self, sampling: Sampling) -> Stops:
        """Every token and every string that ends a completion."""
        policy = self._policy
        return policy.eos_token_ids + sampling.stop_token_ids, policy.template.stop_strings + sampling.stop_strings

    def rule(self, stops: Stops) -> StopRule:
        """The last call's if it stopped at the same: making one reads the whole vocabulary."""
        if self._last is None or self._last[0] != stops:
            policy = self._policy
            self._last = stops, StopRule(policy.tokenizer, policy.valid_vocab, *stops, policy.device)
        return self._last[1]


def require_fresh(
    completions: Iterable[Completion], policy: Policy, version: int, max_staleness: int
) -> Iterator[Completion]:
    """The completions of policy ``version``, as long as the policy is at most so many updates further.

    Raises ``RuntimeError`` where it has been updated: what is learnt from them would be another policy's.
    """
    for completion in completions:
        if not version <= policy.version <= version + max_staleness:
            raise RuntimeError(
                f"the policy went from version {version} to {policy.version} while it was sampled from: "
                "collect all completions of a step before the learner updates"
            )
        yield completion


class RolloutBase(ABC):
    """A rollout engine's calls, one at a time; implements ``ResumableRollout``.

    ``max_slots`` is how many completions decode at a time. Raises ``UserError`` if that is none.
    """

    def __init__(self, policy: Policy, max_slots: int) -> None:
        if max_slots < 1:
            raise UserError(f"max_slots is {max_slots}: must be 1 or more")
        self.policy, self.max_slots = policy, max_slots
        self.ends = StopConditions(policy)
        self.unfinished: list[PartialCompletion] = []
        self._interrupted = threading.Event()

    def generate(
        self, problems: Sequence[Problem], sampling: Sampling, *, seed: int, step: int, stage: str
    ) -> Iterator[Completion]:
        """Yields ``num_generations`` completions of every problem, in the order in which they finish.

        The same (seed, stage, step), problem and index draw the same random numbers whatever else is sampled, and in
        every engine. Raises ``UserError`` for settings that make no sense or prompts that leave no room in the model's
        context, and ``RuntimeError`` if the policy is updated while it is sampled from.
        """
        return self.resume(problems, fresh(problems, sampling.num_generations, step), sampling, seed=seed, stage=stage)

    def resume(
        self,
        problems: Sequence[Problem],
        partials: Sequence[PartialCompletion],
        sampling: Sampling,
        *,
        seed: int,
        stage: str,
    ) -> Iterator[Completion]:
        """Finishes completions that have begun, or not yet; see ``generate`` and ``ResumableRollout``."""
        self._interrupted = interrupted = threading.Event()
        self.unfinished = []
        return self._finish(problems, partials, sampling, (seed, stage), interrupted)

    def interrupt(self) -> None:
        """Ends the present call after what is being computed; what is not finished then is in ``unfinished``."""
        self._interrupted.set()

    @abstractmethod
    def _finish(
        self,
        problems: Sequence[Problem],
        partials: Sequence[PartialCompletion],
        sampling: Sampling,
        keyed_by: tuple[int, str],
        interrupted: threading.Event,
    ) -> Iterator[Completion]:
        """The call itself: looks at ``interrupted``, fills ``unfinished``, draws random numbers ``keyed_by`` these."""
