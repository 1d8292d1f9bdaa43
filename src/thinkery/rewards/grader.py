"""The grader: completions go in as they finish, groups with verdicts, rewards and totals come out.

Grading overlaps decoding: ``submit`` settles plain answers on the spot and hands the rest to worker processes, and
``collect`` waits for what is left. Training, rejection sampling and evaluation all use this one. Left out: advantages
(``training``), and the reward's weights over time.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

from thinkery.models.template import ANSWER, END_ANSWER, END_THINK, THINK, Template
from thinkery.rewards.math import DEADLINE_S, JUDGE, PendingVerdict
from thinkery.rewards.registry import find_verifier, make_reward
from thinkery.rewards.worker import WorkerPool
from thinkery.types import Completion, Group, Outcome, Problem, UserError, Verdict


class Grader:
    """Grades completions of one template with weighted rewards: ``total = sum_i weights[i] * rewards_i``.

    ``deadline_s`` bounds one verdict; ``workers`` is the number of processes for slow ones, started when first needed.
    Not thread-safe: one thread submits and collects. Raises ``UserError`` for an unknown reward or verifier.
    """

    def __init__(
        self, template: Template, weights: Mapping[str, float], *, deadline_s: float = DEADLINE_S, workers: int = 1
    ) -> None:
        if not weights:
            raise UserError("rewards: name at least one, for example {accuracy: 1, format: 1}")
        self._template = template
        self._weights = dict(weights)
        self._rewards = {name: make_reward(name, template) for name in weights}
        self._pool = WorkerPool(JUDGE, workers=workers, deadline_s=deadline_s)
        self._graded: dict[tuple[str, int], tuple[Completion, Verdict | PendingVerdict]] = {}

    def submit(self, problem: Problem, completion: Completion) -> None:
        """Begins to grade a completion; returns at once."""
        key = problem.id, completion.index
        if completion.problem_id != problem.id or key in self._graded:
            raise ValueError(f"completion {completion.index} of {completion.problem_id} submitted wrongly, or twice")
        self._graded[key] = completion, self._begin(problem, completion.text)

    def collect(self, problems: Sequence[Problem], num_generations: int) -> list[Group]:
        """The groups of ``problems``, in their order, completions by index; waits for verdicts that are still missing.

        Raises ``ValueError`` if a completion (index 0 to ``num_generations`` - 1) was never submitted. What was
        submitted for other problems stays for a later call.
        """
        missing = [(p.id, g) for p in problems for g in range(num_generations) if (p.id, g) not in self._graded]
        if missing:
            raise ValueError(f"{len(missing)} completions were never submitted, the first is {missing[0]}")
        taken = [[self._graded.pop((p.id, g)) for g in range(num_generations)] for p in problems]
        completions_PG = [[completion for completion, _ in group] for group in taken]
        verdicts_PG = [[_settled(verdict) for _, verdict in group] for group in taken]
        rewards = self._reward(problems, completions_PG, verdicts_PG)
        groups = []
        for p, problem in enumerate(problems):
            span = slice(p * num_generations, (p + 1) * num_generations)
            rewards_G = {name: tuple(values[span]) for name, values in rewards.items()}
            totals_G = tuple(self._total(values) for values in zip(*rewards_G.values(), strict=True))
            groups.append(Group(problem, tuple(completions_PG[p]), tuple(verdicts_PG[p]), rewards_G, totals_G))
        return groups

    def check_gold(self, problems: Sequence[Problem]) -> list[Problem]:
        """The problems whose own reference, written as a perfect completion, is not accepted."""
        return [problem for problem, verdict in self._gold_verdicts(problems) if not verdict.correct]

    def require_gold(self, problems: Sequence[Problem], shown: int = 5) -> None:
        """Raises ``UserError`` with the first few problems that ``check_gold`` finds. Called before any RL step."""
        refused = [(problem, verdict) for problem, verdict in self._gold_verdicts(problems) if not verdict.correct]
        if refused:
            lines = [f"  {p.id}: {p.reference!r} ({v.outcome}: {v.reason})" for p, v in refused[:shown]]
            more = [f"  and {len(refused) - shown} more"] if len(refused) > shown else []
            head = f"{len(refused)} of {len(problems)} problems have a reference that their verifier does not accept;"
            raise UserError("\n".join([f"{head} correct or remove them:", *lines, *more]))

    def close(self) -> None:
        """Ends the worker processes."""
        self._pool.close()

    def __enter__(self) -> Grader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _begin(self, problem: Problem, text: str) -> Verdict | PendingVerdict:
        verifier = find_verifier(problem.verifier, problem.id)
        return verifier(text, problem.reference, self._pool, prefilled_think=self._template.prefilled_think)

    def _gold_verdicts(self, problems: Sequence[Problem]) -> list[tuple[Problem, Verdict]]:
        opening, closing = (ANSWER, END_ANSWER) if self._template.answer_tag else ("\\boxed{", "}")
        pending = [
            (problem, self._begin(problem, f"{THINK}\nI know it.\n{END_THINK}\n{opening}{problem.reference}{closing}"))
            for problem in problems
        ]
        return [(problem, _settled(verdict)) for problem, verdict in pending]

    def _reward(
        self,
        problems: Sequence[Problem],
        completions_PG: Sequence[Sequence[Completion]],
        verdicts_PG: Sequence[Sequence[Verdict]],
    ) -> dict[str, list[float | None]]:
        """Every reward on the whole batch at once, flattened over problems and their completions."""
        rows = [
            (p, c, v)
            for p, completions_G, verdicts_G in zip(problems, completions_PG, verdicts_PG, strict=True)
            for c, v in zip(completions_G, verdicts_G, strict=True)
        ]
        texts = [
            c.text if isinstance(p.prompt, str) else [{"role": "assistant", "content": c.text}] for p, c, _ in rows
        ]
        columns: dict[str, list[Any]] = {name: [] for p in problems for name in p.columns}
        for name, values in columns.items():
            values.extend(p.columns.get(name) for p, _, _ in rows)
        for name in ("reference", "domain", "level", "language"):
            columns[name] = [getattr(p, name) for p, _, _ in rows]
        columns |= {"problem_id": [p.id for p, _, _ in rows], "verdict": [v for _, _, v in rows]}
        prompts, token_ids = [p.prompt for p, _, _ in rows], [c.token_ids for _, c, _ in rows]
        rewards = {}
        for name, reward in self._rewards.items():
            rewards[name] = reward(prompts, texts, token_ids, **columns)
            if len(rewards[name]) != len(rows):
                raise UserError(f"reward {name!r} returned {len(rewards[name])} values for {len(rows)} completions")
        return rewards

    def _total(self, values: Sequence[float | None]) -> float:
        """The weighted sum over the rewards that apply (TRL's rule)."""
        return sum(w * v for w, v in zip(self._weights.values(), values, strict=True) if v is not None)


def _settled(verdict: Verdict | PendingVerdict) -> Verdict:
    return verdict if isinstance(verdict, Verdict) else verdict.result()


def group_metrics(groups: Sequence[Group]) -> dict[str, float]:
    """What a step's groups say about the policy, in TRL's names where TRL has one.

    ``reward_std`` is the mean over groups of the sample standard deviation; lengths are in tokens. ``accuracy`` is over
    all completions, also by level and by language; ``grading/*`` count verdicts that are neither right nor wrong.
    """
    if not groups:
        return {}
    stds_P = [statistics.stdev(group.totals_G) if len(group.totals_G) > 1 else 0.0 for group in groups]
    rows = [(g.problem, c, v) for g in groups for c, v in zip(g.completions_G, g.verdicts_G, strict=True)]
    metrics = {
        "reward": statistics.fmean(total for group in groups for total in group.totals_G),
        "reward_std": statistics.fmean(stds_P),
        "frac_reward_zero_std": statistics.fmean(std < 1e-8 for std in stds_P),
        "completions/mean_length": statistics.fmean(len(c.token_ids) for _, c, _ in rows),
        "completions/clipped_ratio": statistics.fmean(c.finish_reason == "length" for _, c, _ in rows),
        "grading/timeouts": float(sum(v.outcome is Outcome.TIMEOUT for _, _, v in rows)),
        "grading/gold_unparseable": float(sum(v.outcome is Outcome.GOLD_UNPARSEABLE for _, _, v in rows)),
        "grading/no_answer": float(sum(v.outcome is Outcome.NO_ANSWER for _, _, v in rows)),
    }
    for name in groups[0].rewards_G:
        values = [value for group in groups for value in group.rewards_G[name] if value is not None]
        metrics[f"rewards/{name}/mean"] = statistics.fmean(values) if values else 0.0
    if "rewards/format/mean" in metrics:
        metrics["format"] = metrics["rewards/format/mean"]
    correct: dict[str, list[bool]] = {}
    for problem, _, verdict in rows:
        for name in ("accuracy", f"accuracy/level_{problem.level}", f"accuracy/lang_{problem.language}"):
            correct.setdefault(name, []).append(verdict.correct)
    return metrics | {name: statistics.fmean(values) for name, values in sorted(correct.items())}
