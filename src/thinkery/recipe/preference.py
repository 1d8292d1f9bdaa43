"""The stages around reward models: judging responses, and learning from the verdicts.

Left out: what a stage does (``stages``), and how a reward model pays a policy (``rl.py``'s rewards).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from thinkery.recipe.base import Share
from thinkery.recipe.data import Data, DataSpec, JudgeSpec, Judging, ProblemSpec, check_shares
from thinkery.recipe.rollout import RolloutSpec
from thinkery.recipe.stage import CostEstimator, DataKind, Product, StageBase
from thinkery.types import Dtype, RewardModelObjective, RewardModelReads, Schedule


class JudgeStage(StageBase):
    """Models' responses -> what reward models learn from: preference pairs, or safety labels.

    Each pair is judged ``num_verdicts`` times with the order drawn at random; pairs whose mean verdict is at most
    ``min_gap`` apart are dropped, and lengths balanced (DeepSeek-R1, helpful reward model).
    """

    kind: Literal["judge"]
    """The kind of stage."""

    runner: ClassVar[str] = "thinkery.stages.judge:run_judge"

    task: Literal["preference", "safety"]
    """What is made: pairs (preference) or labels (safety)."""
    from_: str = Field(alias="from")
    """The policy that responds: `base`, an earlier stage, a folder or a Hub id."""
    others: list[str] = []
    """Further models that respond."""
    problems: ProblemSpec
    """The problems that they respond to."""
    judge: Judging
    """Who judges the responses."""
    num_generations: PositiveInt = 2
    """Responses of each model to a problem."""
    mismatched: NonNegativeInt = 0
    """For preference, responses to other problems that are judged beside a problem's own."""
    temperature: PositiveFloat = 1.0
    """The temperature of sampling."""
    max_completion_length: PositiveInt = 256
    """Tokens of a response at most."""
    num_verdicts: PositiveInt = 4
    """How often each pair is judged, with the order drawn at random. DeepSeek-R1: 4."""
    min_gap: NonNegativeFloat = 1.0
    """Pairs whose mean verdict, from -2 to 2, is at most so far from 0 are dropped. DeepSeek-R1: 1."""
    balance_lengths: bool = True
    """Pairs are dropped until chosen and rejected are of comparable length. DeepSeek-R1: comparable."""
    batch_problems: PositiveInt = 128
    """Problems that are answered, judged and kept together; a killed stage goes on with the next ones."""
    max_slots: PositiveInt = 512
    """How many completions are decoded at once."""
    rollout: RolloutSpec | None = None
    """The backend that samples; by default the native engine."""
    dtype: Dtype = "bfloat16"
    """The number format that the model computes in; its weights are kept in float32."""
    device: str = "auto"
    """`cpu`, `cuda`, `cuda:1`, or `auto` for a GPU where there is one."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.task == "preference" and self.num_generations * (1 + len(self.others)) < 2:
            raise ValueError("num_generations: a pair needs two responses")
        if self.task == "safety" and self.mismatched:
            raise ValueError("mismatched: only task preference compares responses")
        return self

    @property
    def makes(self) -> Product:
        """Preference pairs, or safety labels."""
        return "pairs" if self.task == "preference" else "labels"

    def policies(self) -> Iterator[tuple[str, str]]:
        """See ``StageBase``."""
        yield "from", self.from_
        for other in self.others:
            yield "others", other

    def problem_specs(self) -> Iterator[tuple[str, ProblemSpec]]:
        """See ``StageBase``."""
        yield "problems", self.problems

    def judge_specs(self) -> Iterator[tuple[str, JudgeSpec]]:
        """See ``StageBase``."""
        yield "judge", self.judge

    def cost(self, estimator: CostEstimator) -> Any:
        """See ``StageBase``."""
        return estimator.sampling(self, self.others, 1)


class RewardModelStage(StageBase):
    """A reward model: pairwise (Bradley-Terry) on preference pairs, or pointwise (safe or not) on labels.

    ``reads``: ``summary`` is what follows the thinking, ``response`` everything. ``held_out`` is the share of the data
    that accuracy, calibration and length bias are measured on.
    """

    kind: Literal["reward_model"]
    """The kind of stage."""

    runner: ClassVar[str] = "thinkery.stages.reward_model:run_reward_model"
    on_cluster: ClassVar[bool] = False

    objective: RewardModelObjective
    """What is learnt: which of a pair is preferred (pairwise), or what is safe (pointwise). DeepSeek-R1: pairwise
    (helpful), pointwise (safety)."""
    reads: RewardModelReads
    """What is read: the summary after the thinking, or the whole response. DeepSeek-R1: summary (helpful), response
    (safety)."""
    from_: str = Field(alias="from")
    """The model to start from: `base`, an earlier stage, a folder or a Hub id."""
    data: Annotated[list[Data], Field(min_length=1)]
    """The pairs or labels to learn from. DeepSeek-R1: 66,000 pairs, 106,000 labels."""
    held_out: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """The share of the data that accuracy, calibration and length bias are measured on."""
    epochs: PositiveInt = 1
    """Passes over the data. DeepSeek-R1: 1."""
    batch_size: PositiveInt = 256
    """Pairs or labelled responses of an update. DeepSeek-R1: 256."""
    max_length: PositiveInt = 8192
    """Tokens of a response with its prompt at most; longer ones are left out and counted. DeepSeek-R1: 8,192."""
    learning_rate: PositiveFloat = 6e-6
    """The learning rate at its peak. DeepSeek-R1: 6e-6."""
    lr_scheduler_type: Schedule = "cosine"
    """How the learning rate goes on after the warmup."""
    min_lr_rate: Share = 0.1
    """The part of its peak to which the learning rate falls."""
    warmup_steps: NonNegativeInt = 0
    """Updates over which the learning rate rises from zero."""
    weight_decay: NonNegativeFloat = 0.0
    """The decay of the weights in every update, times the learning rate."""
    max_grad_norm: PositiveFloat = 1.0
    """The gradient's norm is cut to this."""
    microbatch_tokens: PositiveInt = 16384
    """Tokens that are learnt from at once."""
    dtype: Dtype = "bfloat16"
    """The number format that the model computes in; its weights are kept in float32."""
    device: str = "auto"
    """`cpu`, `cuda`, `cuda:1`, or `auto` for a GPU where there is one."""
    save_steps: PositiveInt = 50
    """Updates between two checkpoints."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        check_shares(self.data)
        return self

    @property
    def makes(self) -> Product:
        """A reward model."""
        return "reward model"

    @property
    def learns_from(self) -> DataKind | None:
        """Preference pairs, or safety labels."""
        return "pairs" if self.objective == "pairwise" else "labels"

    def data_specs(self) -> Iterator[tuple[str, DataSpec]]:
        """See ``StageBase``."""
        for i, spec in enumerate(self.data):
            yield f"data[{i}]", spec

    def cost(self, estimator: CostEstimator) -> Any:
        """See ``StageBase``. A pair is two sequences."""
        return estimator.learning(self, 2 if self.objective == "pairwise" else 1)
