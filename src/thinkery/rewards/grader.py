"""The grader: completions go in as they finish, groups with verdicts, rewards and totals come out.

Grading overlaps decoding: ``submit`` settles plain answers on the spot and hands the rest to worker processes and
sandboxes; ``collect`` waits for what is left, and no longer than the step's deadline. Training, rejection sampling and
evaluation all use this one. What a step's groups say about the policy is here too, as flat numbers in TRL's names where
TRL has one. Left out: advantages (``training``), and lengths and reflection of the thinking, which need the tokenizer
(``stages``).
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType

from thinkery.models.template import Template
from thinkery.recipe import RewardSpec
from thinkery.recipe.verification import Verification
from thinkery.rewards.calling import GradedRow, call_rewards
from thinkery.rewards.interfaces import LARGEST, PendingVerdict, RewardContext, Verifier
from thinkery.rewards.registry import make_rewards, make_verifier
from thinkery.rewards.reward_process import ProcessReward, RewardProcess
from thinkery.types import SMALLEST_SPREAD, Completion, Group, Outcome, Problem, RewardErrors, UserError, Verdict


@dataclass(frozen=True)
class GraderSpec:
    """All that a grader depends on, in this process or on a reward worker.

    ``max_completion_length`` (tokens) is what rewards of length measure against. A reward that raises stops the step,
    or counts as zero (``reward_errors``); all rewards of a step have ``reward_timeout_s`` seconds together. Without
    rewards there are verdicts alone, and totals of 0 (where a teacher takes their place).
    """

    template: Template
    rewards: Mapping[str, RewardSpec]
    max_completion_length: int
    verification: Verification = field(default_factory=Verification)
    reward_errors: RewardErrors = "stop"
    reward_timeout_s: float = 600.0


class Grader:
    """Grades completions of one template with weighted rewards: ``total = sum_i weight_i * reward_i``.

    ``errors`` says how often a reward failed, by reward, in the last ``collect``; ``process_ends``, in a line each, why
    the process of the user's own rewards had to be started again since. Not thread-safe: one thread submits and
    collects. Raises ``UserError`` for an unknown reward, option or verifier.
    """

    def __init__(self, spec: GraderSpec) -> None:
        context = RewardContext(spec.template, spec.max_completion_length)
        self.spec = spec
        self._process = RewardProcess(context)
        try:
            self._rewards = make_rewards(spec.rewards, context, self._process)
        except BaseException:
            self._process.close()
            raise
        self._verifiers: dict[str, Verifier] = {}
        self._graded: dict[tuple[str, int], tuple[Completion, Verdict | PendingVerdict]] = {}
        self.errors: Mapping[str, int] = {}
        self.process_ends: Sequence[str] = ()

    def require_columns(self, problems: Sequence[Problem]) -> None:
        """Raises ``UserError`` if a reward of the user's needs a column that no problem has."""
        for reward in self._rewards.values():
            if isinstance(reward, ProcessReward):
                reward.require_columns(problems)

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
        asked = [name for name, one in self.spec.rewards.items() if step is None or one.from_step <= step]
        rewards, self.errors = call_rewards(
            {name: self._rewards[name] for name in asked},
            rows,
            on_error=self.spec.reward_errors,
            timeout_s=self.spec.reward_timeout_s,
        )
        self.process_ends, self._process.ends = self._process.ends, []
        groups = []
        for p, problem in enumerate(problems):
            span = range(p * num_generations, (p + 1) * num_generations)
            rewards_G = {name: tuple(values[i] for i in span) for name, values in rewards.items()}
            completions_G = tuple(rows[i].completion for i in span)
            totals_G = tuple(
                self._total(rows[i].completion, {name: values[i] for name, values in rewards.items()}) for i in span
            )
            groups.append(Group(problem, completions_G, tuple(rows[i].verdict for i in span), rewards_G, totals_G))
        return groups

    def verdicts(self, problems: Sequence[Problem], num_generations: int) -> list[tuple[Verdict, ...]]:
        """What ``collect`` gives without asking the rewards: the verdicts of every problem, by index."""
        verdicts = [row.verdict for row in self._judged(problems, num_generations)]
        return [tuple(verdicts[p * num_generations : (p + 1) * num_generations]) for p in range(len(problems))]

    def _judged(self, problems: Sequence[Problem], num_generations: int) -> list[GradedRow]:
        """The completions of ``problems`` with their verdicts, problem by problem, by index."""
        missing = [(p.id, g) for p in problems for g in range(num_generations) if (p.id, g) not in self._graded]
        if missing:
            raise ValueError(f"{len(missing)} completions were never submitted, the first is {missing[0]}")
        deadline = time.monotonic() + self.spec.verification.step_deadline_s
        return [
            GradedRow(problem, completion, settle(verdict, deadline))
            for problem in problems
            for completion, verdict in (self._graded.pop((problem.id, g)) for g in range(num_generations))
        ]

    def verifier_of(self, problem: Problem) -> Verifier:
        """The verifier that judges a problem; made when first asked for, and closed with the grader."""
        if problem.verifier not in self._verifiers:
            try:
                made = make_verifier(problem.verifier, self.spec.template, self.spec.verification)
            except UserError as error:
                raise UserError(f"problem {problem.id}: {error}") from None
            self._verifiers[problem.verifier] = made
        return self._verifiers[problem.verifier]

    def close(self) -> None:
        """Ends the worker processes and sandboxes, and the process of the user's rewards."""
        for verifier in self._verifiers.values():
            verifier.close()
        self._verifiers.clear()
        self._process.close()

    def __enter__(self) -> Grader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _total(self, completion: Completion, values: Mapping[str, float | None]) -> float:
        """The weighted sum over the rewards that apply (TRL's rule). Raises ``UserError`` for an absurd one."""
        applied = {name: self.spec.rewards[name].weight * value for name, value in values.items() if value is not None}
        total = sum(applied.values(), 0.0)
        if not abs(total) <= LARGEST:  # nan too: an infinity less another
            summands = ", ".join(f"{name} {value:g}" for name, value in applied.items())
            raise UserError(
                f"the total reward of completion {completion.index} of problem {completion.problem_id!r} is {total:g}, "
                f"and it must be between -{LARGEST:g} and {LARGEST:g}, or sums of squares overflow; its weighted "
                f"rewards: {summands}. Make the weights smaller"
            )
        return total


def settle(verdict: Verdict | PendingVerdict, deadline: float) -> Verdict:
    """The verdict, waited for until ``deadline`` (of ``time.monotonic``)."""
    if isinstance(verdict, Verdict):
        return verdict
    return verdict.result(timeout=max(0.0, deadline - time.monotonic()))


def group_metrics(groups: Sequence[Group]) -> dict[str, float]:
    """The metrics of a step.

    ``reward_std`` is the mean over groups of the sample standard deviation; lengths are in tokens. ``accuracy`` is over
    the completions that a rule can check, also by level, language and domain; ``grading/*`` count verdicts that are
    neither right nor wrong. What applies to no completion has no metric.
    """
    if not groups:
        return {}
    stds_P = [statistics.stdev(group.totals_G) if len(group.totals_G) > 1 else 0.0 for group in groups]
    rows = [(g.problem, c, v) for g in groups for c, v in zip(g.completions_G, g.verdicts_G, strict=True)]
    metrics = {
        "reward": statistics.fmean(total for group in groups for total in group.totals_G),
        "reward_std": statistics.fmean(stds_P),
        "frac_reward_zero_std": statistics.fmean(std <= SMALLEST_SPREAD for std in stds_P),
        "completions/mean_length": statistics.fmean(len(c.token_ids) for _, c, _ in rows),
        "completions/clipped_ratio": statistics.fmean(c.finish_reason == "length" for _, c, _ in rows),
        "grading/timeouts": float(sum(v.outcome is Outcome.TIMEOUT for _, _, v in rows)),
        "grading/reference_unparseable": float(sum(v.outcome is Outcome.REFERENCE_UNPARSEABLE for _, _, v in rows)),
        "grading/no_answer": float(sum(v.outcome is Outcome.NO_ANSWER for _, _, v in rows)),
    }
    for name in groups[0].rewards_G:
        values = [value for group in groups for value in group.rewards_G[name] if value is not None]
        if values:
            metrics[f"rewards/{name}/mean"] = statistics.fmean(values)
    if "rewards/format/mean" in metrics:
        metrics["format"] = metrics["rewards/format/mean"]
    correct: dict[str, list[bool]] = {}
    for problem, _, verdict in rows:
        if verdict.outcome is Outcome.UNCHECKED:
            continue
        parts = f"level_{problem.level}", f"lang_{problem.language}", f"domain_{problem.domain}"
        for name in ("accuracy", *(f"accuracy/{part}" for part in parts)):
            correct.setdefault(name, []).append(verdict.correct)
    return metrics | {name: statistics.fmean(values) for name, values in sorted(correct.items())}
