"""What the calls of every engine have in common: how they are made and cut, and what is refused, in the same words.

Left out: settings that make no sense whatever is sampled (``sampling.check``).
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from thinkery.models.loading import Policy
from thinkery.rollout.pieces import Piece, fresh
from thinkery.rollout.sampling import check
from thinkery.rollout.share import Stops
from thinkery.rollout.stopping import StopRule
from thinkery.types import Completion, Problem, Sampling, UserError


def check_asked(problems: Sequence[Problem], sampling: Sampling) -> None:
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


class Ends:
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


def while_fresh(
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


class Calls(ABC):
    """An engine's calls, one at a time; implements ``thinkery.types.Rollout`` and ``pieces.Resumable``.

    ``max_slots`` is how many completions decode at a time. Raises ``UserError`` if that is none.
    """

    def __init__(self, policy: Policy, max_slots: int) -> None:
        if max_slots < 1:
            raise UserError(f"max_slots is {max_slots}: must be 1 or more")
        self.policy, self.max_slots = policy, max_slots
        self.ends = Ends(policy)
        self.left: list[Piece] = []
        self._cut = threading.Event()

    def generate(
        self, problems: Sequence[Problem], sampling: Sampling, *, seed: int, step: int, stage: str
    ) -> Iterator[Completion]:
        """Yields ``num_generations`` completions of every problem, in the order in which they finish.

        The same (seed, stage, step), problem and index draw the same random numbers whatever else is sampled, and in
        every engine. Raises ``UserError`` for settings that make no sense or prompts that leave no room in the model's
        context, and ``RuntimeError`` if the policy goes on while it is sampled from.
        """
        return self.go_on(problems, fresh(problems, sampling.num_generations, step), sampling, seed=seed, stage=stage)

    def go_on(
        self, problems: Sequence[Problem], pieces: Sequence[Piece], sampling: Sampling, *, seed: int, stage: str
    ) -> Iterator[Completion]:
        """Finishes completions that have begun, or not yet; see ``generate`` and ``pieces.Resumable``."""
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
        pieces: Sequence[Piece],
        sampling: Sampling,
        counted_by: tuple[int, str],
        cut: threading.Event,
    ) -> Iterator[Completion]:
        """The call itself, which looks at ``cut`` and fills ``left``; random numbers are ``counted_by`` seed, stage."""
