"""What every rollout asks before it samples, so that all engines refuse the same mistakes in the same words.

Left out: settings that make no sense whatever is sampled (``sampling.check``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from thinkery.models.loading import Policy
from thinkery.rollout.sampling import check
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
        self._last: tuple[tuple[tuple[int, ...], tuple[str, ...]], StopRule] | None = None

    def token_ids(self, sampling: Sampling) -> tuple[int, ...]:
        """Every token that ends a completion."""
        return self._policy.eos_token_ids + sampling.stop_token_ids

    def strings(self, sampling: Sampling) -> tuple[str, ...]:
        """Every string that ends a completion."""
        return self._policy.template.stop_strings + sampling.stop_strings

    def rule(self, sampling: Sampling) -> StopRule:
        """The last call's if it stopped at the same: making one reads the whole vocabulary."""
        ends = self.token_ids(sampling), self.strings(sampling)
        if self._last is None or self._last[0] != ends:
            policy = self._policy
            self._last = ends, StopRule(policy.tokenizer, policy.valid_vocab, *ends, policy.device)
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
