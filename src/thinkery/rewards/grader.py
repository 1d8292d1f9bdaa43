"""The grader: completions go in as they finish, groups with verdicts, rewards and totals come out.

Grading overlaps decoding: ``submit`` settles plain answers on the spot and hands the rest to worker processes and
sandboxes; ``collect`` waits for what is left, and no longer than the step's deadline. Training, rejection sampling and
evaluation all use this one. Left out: advantages (``training``).
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Literal

from thinkery.models.template import Template
from thinkery.recipe import RewardSpec
from thinkery.recipe.verification import Verification
from thinkery.rewards.calling import Row, call_rewards
from thinkery.rewards.custom import require_columns
from thinkery.rewards.interfaces import PendingVerdict, RewardContext, Verifier
from thinkery.rewards.registry import make_reward, make_verifier
from thinkery.types import Completion, Group, Problem, UserError, Verdict


class Grader:
    """Grades completions of one template with weighted rewards: ``total = sum_i weight_i * reward_i``.

    ``max_completion_length`` (tokens) is what rewards of length measure against. A reward that raises stops the step,
    or counts as zero (``reward_errors``); ``errors`` says how often that was, by reward, in the last ``collect``.
    Without rewards there are verdicts alone, and totals of 0 (where a teacher takes their place).
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
        context = RewardContext(template, max_completion_length)
        self._template = template
        self._specs = dict(rewards)
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

    def collect(self, problems: Sequence[Problem], num_generations: int, *, step: int | None = None) -> list[Group]:
        """The groups of ``problems``, in their order, completions by index; waits for verdicts that are still missing.

        Rewards whose ``from_step`` lies after ``step`` (0-based; None: none does) are not asked, and not in the groups.
        What is missing at the step's deadline is the verdict ``timeout``. Raises ``ValueError`` if a completion (index
        0 to ``num_generations`` - 1) was never submitted. What was submitted for other problems stays for a later call.
        """
        rows = self._judged(problems, num_generations)
        asked = [name for name, spec in self._specs.items() if step is None or spec.from_step <= step]
        rewards, self.errors = call_rewards(
            {name: self._rewards[name] for name in asked},
            rows,
            on_error=self._reward_errors,
            timeout_s=self._reward_timeout_s,
        )
        groups = []
        for p, problem in enumerate(problems):
            span = range(p * num_generations, (p + 1) * num_generations)
            rewards_G = {name: tuple(values[i] for i in span) for name, values in rewards.items()}
            totals_G = tuple(self._total({name: values[i] for name, values in rewards.items()}) for i in span)
            completions_G = tuple(rows[i].completion for i in span)
            groups.append(Group(problem, completions_G, tuple(rows[i].verdict for i in span), rewards_G, totals_G))
        return groups

    def verdicts(self, problems: Sequence[Problem], num_generations: int) -> list[tuple[Verdict, ...]]:
        """What ``collect`` gives without asking the rewards: the verdicts of every problem, by index."""
        verdicts = [row.verdict for row in self._judged(problems, num_generations)]
        return [tuple(verdicts[p * num_generations : (p + 1) * num_generations]) for p in range(len(problems))]

    def _judged(self, problems: Sequence[Problem], num_generations: int) -> list[Row]:
        """The completions of ``problems`` with their verdicts, problem by problem, by index."""
        missing = [(p.id, g) for p in problems for g in range(num_generations) if (p.id, g) not in self._graded]
        if missing:
            raise ValueError(f"{len(missing)} completions were never submitted, the first is {missing[0]}")
        deadline = time.monotonic() + self._verification.step_deadline_s
        return [
            Row(problem, completion, settle(verdict, deadline))
            for problem in problems
            for completion, verdict in (self._graded.pop((problem.id, g)) for g in range(num_generations))
        ]

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

    def _total(self, values: Mapping[str, float | None]) -> float:
        """The weighted sum over the rewards that apply (TRL's rule)."""
        return sum((self._specs[name].weight * value for name, value in values.items() if value is not None), 0.0)


def settle(verdict: Verdict | PendingVerdict, deadline: float) -> Verdict:
    """The verdict, waited for until ``deadline`` (of ``time.monotonic``)."""
    if isinstance(verdict, Verdict):
        return verdict
    return verdict.result(timeout=max(0.0, deadline - time.monotonic()))
