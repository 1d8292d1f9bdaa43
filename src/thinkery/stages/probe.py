"""The probe: a held-out verifiable set, sampled while a stage learns, that shows when its reward is being gamed.

A reward model that is optimised for too long rises while what it stands for falls (Gao et al., "Scaling laws for reward
model overoptimization", arXiv 2210.10760; DeepSeek-R1 pays for preference in the last 400 steps only). The probe's
answers are checked by rules, so they can't be talked up. Each look samples the same problems with the same random
numbers: what changes is the policy. Left out: acting on anything but a fall below the best look.
"""

from __future__ import annotations

import json
import shutil
import statistics
from pathlib import Path

from thinkery.evaluation.metrics import avg_at_k
from thinkery.files import link_or_copy
from thinkery.models.loading import Policy
from thinkery.problems.source import open_source
from thinkery.recipe import ProbeSpec, RLStage
from thinkery.rewards.grader import Grader
from thinkery.rewards.references import check_references
from thinkery.rewards.unchecked import NONE
from thinkery.stages.context import StageContext
from thinkery.stages.runtime import CheckpointedLearner
from thinkery.stages.sampling import progress, sample_and_grade
from thinkery.stages.vetting import vet_for
from thinkery.types import Problem, Sampling, UserError

_BEST, _STATE = "best", "probe.json"


class Probe:
    """Looks at the policy, remembers the best look, and says when to stop.

    Its state is in the stage's checkpoints, with the best policy's learner where ``max_drop`` may ask for it: each new
    best is a checkpoint of its own, and later ones link to its files.
    """

    def __init__(
        self,
        spec: ProbeSpec,
        stage: RLStage,
        context: StageContext,
        policy: Policy,
        grader: Grader,
        learner: CheckpointedLearner,
    ) -> None:
        self.spec, self.stage, self.context, self.grader, self.learner = spec, stage, context, grader, learner
        self.problems = self._problems(policy)
        self.rollout = context.runtime.rollout(policy, max_slots=stage.max_slots, spec=stage.rollout)
        self.best: float | None = None  # None: not looked yet
        self.best_step = 0
        self.fallen = False
        self._unsaved = False  # whether the best policy is the present one, not yet in a checkpoint

    def due(self, step: int) -> bool:
        """Whether to look after ``step`` updates: before the first, every so many, and after the last."""
        return step % self.spec.every == 0 or step == self.stage.steps

    def look(self, step: int) -> dict[str, float]:
        """pass@1 of the policy after ``step`` updates, and the best so far, as metrics. Of equal ones the last is best.

        A fall of more than ``max_drop`` below the best sets ``fallen``, and the view is told.
        """
        score = self._score()
        if self.best is None or score >= self.best:
            self.best, self.best_step = score, step
            self._unsaved = self.spec.max_drop is not None
        elif self.spec.max_drop is not None and self.best - score > self.spec.max_drop:
            self.fallen = True
            self.context.view.note(
                f"{self.stage.name}: stopped after step {step}: the probe's pass@1 fell from {self.best:.3f} (step "
                f"{self.best_step}) to {score:.3f}; the policy of step {self.best_step} is kept"
            )
        return {"probe/pass@1": score, "probe/best": self.best}

    @property
    def wants_checkpoint(self) -> bool:
        """Whether the last look found a best policy, which a later stop may want back."""
        return self._unsaved

    def restore_best(self) -> None:
        """Takes the learner back to the best look, from the last checkpoint."""
        checkpoint = self.context.run.latest_checkpoint()
        assert checkpoint is not None  # every new best makes one
        self.learner.load(checkpoint[1] / "probe" / _BEST)

    def save(self, folder: Path) -> None:
        """Writes what has been seen, beside a learner that has just been saved."""
        folder.mkdir()
        (folder / _STATE).write_text(json.dumps({"best": self.best, "best_step": self.best_step}))
        before = self.context.run.latest_checkpoint()
        if self._unsaved:
            _link(folder.parent / "learner", folder / _BEST)
            self._unsaved = False
        elif self.spec.max_drop is not None and before is not None:
            _link(before[1] / "probe" / _BEST, folder / _BEST)

    def load(self, folder: Path) -> None:
        """Restores what ``save`` wrote; the weights stay where they are until they are asked for."""
        state = json.loads((folder / _STATE).read_text())
        self.best, self.best_step = state["best"], state["best_step"]

    def _score(self) -> float:
        """pass@1: the mean over problems of the share of right samples."""
        sampling = Sampling(
            num_generations=self.spec.num_samples,
            temperature=self.spec.temperature,
            top_p=self.spec.top_p,
            max_completion_length=self.stage.max_completion_length,
        )
        by_id = {problem.id: problem for problem in self.problems}
        completions = self.rollout.generate(
            self.problems, sampling, seed=self.context.seed, step=0, stage=f"{self.stage.name}/probe"
        )
        total = len(self.problems) * sampling.num_generations
        sample_and_grade(completions, by_id.__getitem__, self.grader, progress(self.context.view, "probing", total))
        verdicts_PG = self.grader.verdicts(self.problems, sampling.num_generations)
        return statistics.fmean(avg_at_k(verdicts_G) for verdicts_G in verdicts_PG)

    def _problems(self, policy: Policy) -> list[Problem]:
        """The set, less what can't be graded. Raises ``UserError`` if nothing is left."""
        vet = vet_for(policy, self.stage.max_completion_length, rollout=self.stage.rollout)
        source = open_source(self.spec.problems, vet)
        problems = source.fixed(self.spec.problems.n)
        report = check_references(self.grader, problems)
        masked = report.masked | report.require(source.place, source.skips)
        for note in [*source.notes, *report.notes(source.place)]:
            self.context.view.note(f"{self.stage.name}.probe: {note}")
        kept = [problem for problem in problems if problem.verifier != NONE and problem.id not in masked]
        if not kept:
            raise UserError(
                f"{self.stage.name}.probe.problems: no rule can check any of these {len(problems)} problems; name a "
                "set with reference answers"
            )
        return kept


def _link(source: Path, target: Path) -> None:
    """The same files in another folder, without a copy where the file system knows how."""
    shutil.copytree(source, target, copy_function=lambda one, other: link_or_copy(Path(one), Path(other)))
