"""What samples, grades and learns for a stage: all in this process here, on a cluster in ``thinkery.cluster``.

A stage asks its runtime for a policy, for a rollout of it, for a learner and a grader, and doesn't know where they are.
Left out: what they do (``rollout``, ``rewards``, ``training``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from thinkery.machine.clock import Clock
from thinkery.models.loading import Policy, load_policy
from thinkery.models.template import Template
from thinkery.recipe import RolloutSpec
from thinkery.rewards.grader import Grader, GraderSpec
from thinkery.rollout import open_rollout
from thinkery.rollout.base import ResumableRollout
from thinkery.training.learner import Learner, LearnerConfig, Sample
from thinkery.training.sft import Example, SFTConfig, SupervisedLearner
from thinkery.types import Ahead, Dtype


class CheckpointedLearner(Protocol):
    """A learner's state and its result, as files."""

    def save(self, folder: Path) -> None:
        """Writes all that ``load`` needs to resume; ``folder`` does not exist yet."""
        ...

    def save_async(self, folder: Path) -> Callable[[], None] | None:
        """The same, or a beginning: then it returns what waits until ``folder`` is there, while updates go on."""
        ...

    def load(self, folder: Path) -> None:
        """Restores what ``save`` wrote."""
        ...

    def export(self, folder: Path) -> None:
        """Writes the policy as a Hugging Face checkpoint, with tokenizer and template."""
        ...


class RLLearner(CheckpointedLearner, Protocol):
    """Groups' samples -> a better policy; ``training.learner.Learner`` is one."""

    def update(self, samples: Sequence[Sample], step: int) -> dict[str, float]:
        """One RL step (0-based); afterwards the policy has the next version. Returns metrics."""
        ...


class TextLearner(CheckpointedLearner, Protocol):
    """Demonstrations -> a policy that writes like them; ``training.sft.SupervisedLearner`` is one."""

    @property
    def examples(self) -> Sequence[Example]:
        """What is learnt."""
        ...

    @property
    def tokens(self) -> int:
        """Tokens read by now, prompts included."""
        ...

    @property
    def total_updates(self) -> int:
        """Updates in all epochs."""
        ...

    def batch(self, step: int) -> list[int]:
        """The examples of update ``step`` (0-based)."""
        ...

    def update(self, step: int) -> dict[str, float]:
        """Update ``step`` (0-based). Returns metrics."""
        ...


class Runtime(Protocol):
    """Makes what a stage works with. Use it as a context: leaving it ends what it started."""

    def policy(self, place: str, *, template: Template | None, device: str, dtype: Dtype) -> Policy:
        """The policy of a checkpoint; on a cluster a handle without weights. See ``models.loading.load_policy``."""
        ...

    @property
    def ahead(self) -> Ahead:
        """How far sampling runs ahead of learning."""
        ...

    def rollout(self, policy: Policy, *, max_slots: int, spec: RolloutSpec | None = None) -> ResumableRollout:
        """What samples from a policy; it sees the weights that its learner has made."""
        ...

    def learner(self, policy: Policy, config: LearnerConfig, clock: Clock) -> RLLearner:
        """What updates a policy by reinforcement."""
        ...

    def supervised(self, policy: Policy, examples: Sequence[Example], config: SFTConfig) -> TextLearner:
        """What fits a policy to demonstrations."""
        ...

    def grader(self, spec: GraderSpec) -> Grader:
        """What grades completions of a template."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class LocalRuntime:
    """Everything in this process: rollout and learner share the policy's very tensors."""

    def policy(self, place: str, *, template: Template | None, device: str, dtype: Dtype) -> Policy:
        """Loads it."""
        return load_policy(place, template=template, device=device, dtype=dtype)

    @property
    def ahead(self) -> Ahead:
        """Not at all."""
        return Ahead()

    def rollout(self, policy: Policy, *, max_slots: int, spec: RolloutSpec | None = None) -> ResumableRollout:
        """The native engine, or the backend that the recipe names."""
        return open_rollout(policy, max_slots, spec)

    def learner(self, policy: Policy, config: LearnerConfig, clock: Clock) -> RLLearner:
        """The learner on the policy's device."""
        return Learner(policy, config, clock)

    def supervised(self, policy: Policy, examples: Sequence[Example], config: SFTConfig) -> TextLearner:
        """The supervised learner on the policy's device."""
        return SupervisedLearner(policy, examples, config)

    def grader(self, spec: GraderSpec) -> Grader:
        """The grader, with worker processes and sandboxes of this machine."""
        return Grader(spec)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing was started that would outlive what it belongs to."""
