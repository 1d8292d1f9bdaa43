"""Whether any step of a stage had something to learn from. A stage in which none had stops, and says why.

Where all completions of a group earn the same, no advantage tells them apart: noise, weight decay and a KL penalty
would be all that moves the policy, and a stage could end well without having learnt anything. Left out: a signal that
fades later, which is a policy that has learnt what there was (the metric ``frac_reward_zero_std``).
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from thinkery.models.template import Template
from thinkery.recipe import RLStage
from thinkery.training.custom import load_advantages
from thinkery.training.losses import teaches
from thinkery.types import SMALLEST_SPREAD, Group, UserError

_STATE = "signal.json"
_OFTEN = 0.5  # a share of completions that explains why no group told its own apart


class LearningSignal:
    """Looks at every step until one had a signal; what it has seen until then is in the stage's checkpoints.

    A signal is a group whose completions earned differently. For PPO, whose critic compares completions of different
    problems and steps, it is any two that did. A teacher gives every token an advantage, and so is a signal itself.
    """

    def __init__(self, stage: RLStage, template: Template) -> None:
        self._stage, self._template = stage, template
        self._found = stage.teacher is not None
        self._patience = stage.no_signal_steps
        self._entered = max((spec.from_step for spec in stage.rewards.values()), default=0)  # the last of the rewards
        self._completions = 0
        self._lowest, self._highest = math.inf, -math.inf  # of the totals, since a reward entered last
        self._sums: dict[str, float] = {}  # of the metrics of the steps without a signal
        self._counts: dict[str, int] = {}

    def look(self, step: int, groups: Sequence[Group], metrics: Mapping[str, float]) -> None:
        """Sees what ``step`` (0-based) had to learn from. Raises ``UserError`` if it is time to stop."""
        if self._found or self._patience is None:
            return
        self._found = self._tells_apart(step, groups)
        if self._found:
            return
        self._completions += sum(len(group.totals_G) for group in groups)
        for name, value in metrics.items():
            self._sums[name] = self._sums.get(name, 0.0) + value
            self._counts[name] = self._counts.get(name, 0) + 1
        if step + 1 == self._stage.steps or step + 1 - self._entered >= self._patience:
            raise UserError("\n".join(self._lines(step + 1)))

    def save(self, folder: Path) -> None:
        """Writes what it has seen."""
        folder.mkdir()
        bounds = None if math.isinf(self._lowest) else [self._lowest, self._highest]
        state = {"found": self._found, "completions": self._completions, "bounds": bounds}
        (folder / _STATE).write_text(json.dumps(state | {"sums": self._sums, "counts": self._counts}))

    def load(self, folder: Path) -> None:
        """Restores what ``save`` wrote."""
        state = json.loads((folder / _STATE).read_text())
        self._found, self._completions = state["found"], state["completions"]
        self._lowest, self._highest = state["bounds"] or (math.inf, -math.inf)
        self._sums, self._counts = state["sums"], state["counts"]

    def _tells_apart(self, step: int, groups: Sequence[Group]) -> bool:
        if self._stage.advantage_estimator != "gae":
            advantages = load_advantages(self._stage.advantage_estimator, self._stage.scale_rewards)
            return any(teaches(advantage) for advantages_G in advantages(groups) for advantage in advantages_G)
        if any(spec.from_step == step for spec in self._stage.rewards.values()):
            self._lowest, self._highest = math.inf, -math.inf  # other totals than before are the reward's doing
        totals = [total for group in groups for total in group.totals_G]
        self._lowest, self._highest = min(self._lowest, *totals), max(self._highest, *totals)
        return self._highest - self._lowest > SMALLEST_SPREAD

    def _lines(self, steps: int) -> Iterator[str]:
        stage = self._stage
        whom = "all completions" if stage.advantage_estimator == "gae" else "the completions of every group"
        yield (
            f"{stage.name}: no step had any signal: in {steps:,} step{'s' if steps > 1 else ''} with "
            f"{self._completions:,} completions {whom} earned the same, so nothing was learnt, and the stage stops"
        )
        means = {name: self._mean(f"rewards/{name}/mean") for name in stage.rewards}
        said = (f"{name} {'does not apply' if mean is None else f'{mean:g}'}" for name, mean in means.items())
        yield f"  mean of each reward: {', '.join(said)}"
        yield from self._causes() or ["  Do the rewards depend on the completion? Try them on a right and a wrong one."]
        yield "  The run folder's completions/ shows some."
        if steps < stage.steps:
            yield f"  To wait longer, raise no_signal_steps = {self._patience}."
        else:
            yield "  To continue all the same, as where a recipe is only tried, set no_signal_steps: null."

    def _causes(self) -> list[str]:
        stage, accuracy = self._stage, self._mean("accuracy")
        steps = self._counts["reward"]
        unanswered = self._sums["grading/no_answer"] / self._completions
        cut = self._mean("completions/clipped_ratio") or 0.0
        failed = {name: self._sums.get(f"rewards/{name}/errors", 0.0) for name in stage.rewards}
        found = [
            f"  {name} failed on {count:,.0f} completions, which reward_errors: zero counts as 0: correct it."
            for name, count in failed.items()
            if count
        ]
        if not any(spec.weight for spec in stage.rewards.values()):
            found.append("  All rewards have the weight 0: give one another.")
        if cut >= _OFTEN:
            found.append(
                f"  {cut:.0%} of completions were cut off: raise max_completion_length = {stage.max_completion_length}."
            )
        if unanswered >= _OFTEN:
            found.append(
                f"  {unanswered:.0%} had no answer where the template {self._template.name} looks for one: take the "
                "template that the model knows, or let it learn the format first (kind: sft)."
            )
        elif accuracy == 0:
            found.append("  No answer was right: take easier problems, a better model, or more num_generations.")
        if accuracy == 1:
            found.append("  Every answer was right: take harder problems.")
        timeouts = self._sums["grading/timeouts"]
        if timeouts >= _OFTEN * self._completions:
            found.append(f"  {timeouts / steps:,.0f} verdicts a step timed out: see verification.deadline_s.")
        return found

    def _mean(self, name: str) -> float | None:
        """The mean of a metric over the steps that had it."""
        return self._sums[name] / self._counts[name] if name in self._counts else None
