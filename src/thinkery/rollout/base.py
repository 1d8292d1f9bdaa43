"""What every rollout backend has in common: requests and what ends them, calls that are interrupted and resumed.

A backend implements ``RolloutBase``: it turns problems into completions of one policy version, streamed as they finish.
An interrupted call leaves ``PartialCompletion``s: tokens so far with their log-probabilities, for a later call to go on
from. Left out: how tokens are made (``native``, ``vllm``) and drawn (``sampling.py``).
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from transformers import PreTrainedTokenizerBase

from thinkery.models.loading import Policy
from thinkery.rollout.sampling import check
from thinkery.types import Completion, Problem, Sampling, UserError


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


class ResumableRollout(Protocol):
    """A rollout whose calls can be cut short and continued. ``left`` is what the last call did not finish."""

    @property
    def left(self) -> Sequence[PartialCompletion]:
        """The unfinished completions of the last call, once its iterator is exhausted."""
        ...

    def resume(
        self,
        problems: Sequence[Problem],
        pieces: Sequence[PartialCompletion],
        sampling: Sampling,
        *,
        seed: int,
        stage: str,
    ) -> Iterator[Completion]:
        """Finishes the pieces, whose problems are ``problems``, and yields them as they finish."""
        ...

    def cut(self) -> None:
        """Ends the call under way soon, from any thread: its iterator runs out, and ``left`` is what is missing."""
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

    Raises ``RuntimeError`` where it has gone on: what is learnt from them would be another policy's.
    """
    for completion in completions:
        if not version <= policy.version <= version + max_staleness:
            raise RuntimeError(
                f"the policy went from version {version} to {policy.version} while it was sampled from: "
                "collect all completions of a step before the learner updates"
            )
        yield completion


class RolloutBase(ABC):
    """An engine's calls, one at a time; implements ``thinkery.types.Rollout`` and ``pieces.ResumableRollout``.

    ``max_slots`` is how many completions decode at a time. Raises ``UserError`` if that is none.
    """

    def __init__(self, policy: Policy, max_slots: int) -> None:
        if max_slots < 1:
            raise UserError(f"max_slots is {max_slots}: must be 1 or more")
        self.policy, self.max_slots = policy, max_slots
        self.ends = StopConditions(policy)
        self.left: list[PartialCompletion] = []
        self._cut = threading.Event()

    def generate(
        self, problems: Sequence[Problem], sampling: Sampling, *, seed: int, step: int, stage: str
    ) -> Iterator[Completion]:
        """Yields ``num_generations`` completions of every problem, in the order in which they finish.

        The same (seed, stage, step), problem and index draw the same random numbers whatever else is sampled, and in
        every engine. Raises ``UserError`` for settings that make no sense or prompts that leave no room in the model's
        context, and ``RuntimeError`` if the policy goes on while it is sampled from.
        """
        return self.resume(problems, fresh(problems, sampling.num_generations, step), sampling, seed=seed, stage=stage)

    def resume(
        self,
        problems: Sequence[Problem],
        pieces: Sequence[PartialCompletion],
        sampling: Sampling,
        *,
        seed: int,
        stage: str,
    ) -> Iterator[Completion]:
        """Finishes completions that have begun, or not yet; see ``generate`` and ``pieces.ResumableRollout``."""
        self._cut = cut = threading.Event()
        self.left = []
        return self._go_on(problems, pieces, sampling, (seed, stage), cut)

    def cut(self) -> None:
        """Ends the call under way after what is being computed; what is not finished then is in ``left``."""
        self._cut.set()

    @abstractmethod
    def _go_on(
        self,
        problems: Sequence[Problem],
        pieces: Sequence[PartialCompletion],
        sampling: Sampling,
        counted_by: tuple[int, str],
        cut: threading.Event,
    ) -> Iterator[Completion]:
        """The call itself, which looks at ``cut`` and fills ``left``; random numbers are ``counted_by`` seed, stage."""
