"""The grader: completions go in as they finish, groups with verdicts, rewards and totals come out.

Grading overlaps decoding: ``submit`` settles plain answers on the spot and hands the rest to worker processes and
sandboxes; ``collect`` waits for what is left, and no longer than the step's deadline. Training, rejection sampling and
evaluation all use this one. Left out: advantages (``training``), and the reward's weights over time.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Literal

from thinkery.models.template import Template
from thinkery.recipe import RewardSpec
from thinkery.rewards.calling import Row, call_rewards
from thinkery.rewards.custom import require_columns
from thinkery.rewards.interfaces import PendingVerdict, RewardContext, Verifier
from thinkery.rewards.registry import make_reward, make_verifier
from thinkery.types import Completion, Group, Problem, UserError, Verdict
from thinkery.verification import Verification


class Grader:
    """Grades completions of one template with weighted rewards: ``total = sum_i weight_i * reward_i``.

    ``max_completion_length`` (tokens) is what rewards of length measure against. A reward that raises stops the step,
    or counts as zero (``reward_errors``); ``errors`` says how often that was, by reward, in the last ``collect``.
    Not thread-safe: one thread submits and collects. Raises ``UserError`` for an unknown reward, option or verifier.
    """

    def __init__(
        self,
        template: Template,
        rewards: Mapping[str, RewardSpec],
        *,
        max_completion_length: int,
        verification: Verification | None = None,
        reward_errors: Literal["stop", "zero"] = "stop",
        reward_timeout_s: float = 600.0,
    ) -> None:
        if not rewards:
            raise UserError("rewards: name at least one, for example {accuracy: 1, format: 1}")
        context = RewardContext(template, max_completion_length)
        self._template = template
        self._weights = {name: spec.weight for name, spec in rewards.items()}
        self._rewards = {name: make_reward(name, context, spec.options) for name, spec in rewards.items()}
        self._verification = verification or Verification()
        self._reward_errors, self._reward_timeout_s = reward_errors, reward_timeout_s
        self._verifiers: dict[str, Verifier] = {}
        self._graded: dict[tuple[str, int], tuple[Completion, Verdict | PendingVerdict]] = {}
        self.errors: Mapping[str, int] = {}

    def require_columns(self, problems: Sequence[Problem]) -> None:
        """Raises ``UserError`` if a reward of the user's needs a column that no problem has."""
        for reward in self._rewards.values():
            require_columns(reward, problems)

    def submit(self, problem: Problem, completion: Completion) -> None:
        """Begins to grade a completion; returns at once."""
        key = problem.id, completion.index
        if completion.problem_id != problem.id or key in self._graded:
            raise ValueError(f"completion {completion.index} of {completion.problem_id} submitted wrongly, or twice")
        self._graded[key] = completion, self.verifier_of(problem).begin(completion.text, problem)

    def collect(self, problems: Sequence[Problem], num_generations: int) -> list[Group]:
        """The groups of ``problems``, in their order, completions by index; waits for verdicts that are still missing.

        What is missing at the step's deadline is the verdict ``timeout``. Raises ``ValueError`` if a completion (index
        0 to ``num_generations`` - 1) was never submitted. What was submitted for other problems stays for a later call.
        """
        missing = [(p.id, g) for p in problems for g in range(num_generations) if (p.id, g) not in self._graded]
        if missing:
            raise ValueError(f"{len(missing)} completions were never submitted, the first is {missing[0]}")
        deadline = time.monotonic() + self._verification.step_deadline_s
        rows = [
            Row(problem, completion, settle(verdict, deadline))
            for problem in problems
            for completion, verdict in (self._graded.pop((problem.id, g)) for g in range(num_generations))
        ]
        rewards, self.errors = call_rewards(
            self._rewards, rows, on_error=self._reward_errors, timeout_s=self._reward_timeout_s
        )
        groups = []
        for p, problem in enumerate(problems):
            span = slice(p * num_generations, (p + 1) * num_generations)
            rewards_G = {name: tuple(values[span]) for name, values in rewards.items()}
            totals_G = tuple(self._total(values) for values in zip(*rewards_G.values(), strict=True))
            completions_G = tuple(row.completion for row in rows[span])
            groups.append(Group(problem, completions_G, tuple(row.verdict for row in rows[span]), rewards_G, totals_G))
        return groups

    def verifier_of(self, problem: Problem) -> Verifier:
        """The verifier that judges a problem; made when first asked for, and closed with the grader."""
        if problem.verifier not in self._verifiers:
            try:
                made = make_verifier(problem.verifier, self._template, self._verification)
            except UserError as error:
                raise UserError(f"problem {problem.id}: {error}") from None
            self._verifiers[problem.verifier] = made
        return self._verifiers[problem.verifier]

    def close(self) -> None:
        """Ends the worker processes and sandboxes."""
        for verifier in self._verifiers.values():
            verifier.close()
        self._verifiers.clear()

    def __enter__(self) -> Grader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _total(self, values: Sequence[float | None]) -> float:
        """The weighted sum over the rewards that apply (TRL's rule)."""
        return sum(w * v for w, v in zip(self._weights.values(), values, strict=True) if v is not None)


def settle(verdict: Verdict | PendingVerdict, deadline: float) -> Verdict:
    """The verdict, waited for until ``deadline`` (of ``time.monotonic``)."""
    if isinstance(verdict, Verdict):
        return verdict
    return verdict.result(timeout=max(0.0, deadline - time.monotonic()))
