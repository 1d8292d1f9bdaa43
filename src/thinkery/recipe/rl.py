"""The stage of reinforcement learning: GRPO and its relatives, PPO, on-policy distillation.

R1-Zero, the reasoning RL and the all-scenario RL differ in these fields alone. Names are TRL's where TRL has one.
Left out: what the fields do (``stages/rl.py``, ``training``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, get_args

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from thinkery.recipe.base import Probability, or_function
from thinkery.recipe.data import ProbeSpec, ProblemSpec, RewardSpec, WeightedReward
from thinkery.recipe.rollout import RolloutSpec
from thinkery.recipe.stage import CostEstimator, Product, StageBase
from thinkery.types import (
    AdvantageType,
    ImportanceCorrection,
    KLEstimator,
    LossType,
    OptimizerKind,
    RewardErrors,
    RewardScale,
    Schedule,
)

FEW_PROBLEMS = 4  # of a step whose decoding is narrow: one for every worker, however many there are
MODEL_REWARDS = ("helpful", "safety", "model")  # rewards whose option ``model`` names a reward model

if TYPE_CHECKING:
    LossName = str
    AdvantageName = str
else:
    LossName = or_function(get_args(LossType), "my_losses.py:name")
    AdvantageName = or_function(get_args(AdvantageType), "my_advantages.py:name")

# What a preset sets where the recipe is silent.
PRESETS: Mapping[str, Mapping[str, Any]] = {
    # DeepSeekMath (arXiv 2402.03300), DeepSeek-R1's beta
    "grpo": {"loss_type": "grpo", "scale_rewards": "group", "epsilon": 0.2, "beta": 0.001},
    # DAPO (arXiv 2503.14476), section 3
    "dapo": {"loss_type": "dapo", "epsilon": 0.2, "epsilon_high": 0.28, "beta": 0.0, "dynamic_sampling": True},
    # Dr. GRPO (arXiv 2503.20783), section 3
    "dr_grpo": {"loss_type": "dr_grpo", "scale_rewards": "none", "epsilon": 0.2, "beta": 0.0},
    # PPO (arXiv 1707.06347) as DeepSeek-R1 compares it: no KL in the loss, lambda left to the recipe
    "ppo": {"advantage_estimator": "gae", "loss_type": "dapo", "epsilon": 0.2, "beta": 0.0},
}


class RLStage(StageBase):
    """GRPO with verifiable rewards. R1-Zero and its successors differ in these fields alone."""

    kind: Literal["rl"]
    """The kind of stage."""

    runner: ClassVar[str] = "thinkery.stages.rl:run_rl"
    function_checker: ClassVar[str | None] = "thinkery.stages.advantage_estimator:check_function"
    uses_verdicts: ClassVar[bool] = True

    from_: str = Field(alias="from")
    """The policy to start from: `base`, an earlier stage, a folder or a Hub id."""
    problems: ProblemSpec
    """The problems that the policy is asked."""
    rewards: dict[str, WeightedReward] = {}
    """What is paid for, each reward with its weight; empty only where a teacher takes their place."""
    reward_errors: RewardErrors = "stop"
    """What an exception in a reward of yours does: it stops the run or pays nothing."""
    reward_timeout_s: PositiveFloat = 600.0
    """Seconds that one reward may take for a whole batch."""
    steps: PositiveInt
    """RL steps: one rollout each, with `num_iterations` times `num_minibatches` updates. DeepSeek-R1: 10,400 updates
    (R1-Zero), 1,700 (last RL)."""
    no_signal_steps: PositiveInt | None = 20
    """The stage stops after so many steps if none had anything to learn from; null never stops."""
    # Rollout
    num_problems: PositiveInt = 32
    """Problems of a step. DeepSeek-R1: 32 an update, 512 a rollout."""
    num_generations: PositiveInt = 16
    """Completions of each problem, GRPO's group. DeepSeek-R1: 16."""
    temperature: PositiveFloat = 1.0
    """The temperature of sampling. DeepSeek-R1: 1.0, in the last RL 0.7."""
    top_p: Probability = 1.0
    """The share of the probability that sampling draws from."""
    top_k: NonNegativeInt = 0
    """How many of the likeliest tokens sampling draws from; 0 is all."""
    max_completion_length: PositiveInt = 256
    """Tokens of a completion at most. DeepSeek-R1: 32,768, in R1-Zero 65,536 from step 8,200."""
    dynamic_sampling: bool = False
    """Groups that are all right or all wrong are replaced by others (DAPO)."""
    max_refills: PositiveInt = 3
    """Rounds of `dynamic_sampling` in a step at most."""
    max_slots: PositiveInt = 512
    """How many completions are decoded at once."""
    rollout: RolloutSpec | None = None
    """The backend that samples; by default the native engine."""
    template: str | None = None
    """The template to ask with; by default the recipe's for its base, else the saved one."""
    # Optimizer
    learning_rate: PositiveFloat
    """The learning rate at its peak. DeepSeek-R1: 3e-6."""
    optimizer: OptimizerKind = "adamw"
    """AdamW, or Muon for the matrices with AdamW for the rest."""
    weight_decay: NonNegativeFloat = 0.0
    """The decay of the weights in every update, times the learning rate."""
    max_grad_norm: PositiveFloat = 1.0
    """The gradient's norm is cut to this."""
    lr_scheduler_type: Schedule = "constant"
    """How the learning rate goes on after the warmup."""
    warmup_steps: NonNegativeInt = 0
    """Steps over which the learning rate rises from zero."""
    # Objective
    preset: Literal["grpo", "dapo", "dr_grpo", "ppo"] | None = None
    """A method that fills what is left out of the objective."""
    advantage_estimator: AdvantageName = "group"
    """A completion against its group (GRPO), or tokens against a value model (PPO)."""
    gae_lambda: Probability = 1.0
    """Lambda of `gae`. DeepSeek-R1: 1.0, much better than PPO's usual 0.95."""
    value_learning_rate: PositiveFloat | None = None
    """The learning rate of the value model of `gae`; by default `learning_rate`."""
    value_warmup_steps: NonNegativeInt = 0
    """Steps in which only the value model of `gae` learns."""
    teacher: str | None = None
    """The model to distill from on the policy's own samples: a stage, a folder or a Hub id."""
    teacher_weight: PositiveFloat = 1.0
    """The weight of the reverse KL to the teacher."""
    loss_type: LossName = "dapo"
    """The mean of the loss: by sequence (grpo), by token (dapo), or divided by a constant (dr_grpo).
    DeepSeek-R1: grpo."""
    scale_rewards: RewardScale = "group"
    """The standard deviation that advantages are divided by: the group's, the batch's, or none. DeepSeek-R1: group."""
    epsilon: PositiveFloat = 0.2
    """How far the probability ratio may move before the loss is clipped. DeepSeek-R1: 10."""
    epsilon_high: PositiveFloat | None = None
    """The same upwards; by default `epsilon`."""
    delta: PositiveFloat | None = None
    """The upper limit of the ratio on negative advantages (dual clip); by default off."""
    beta: NonNegativeFloat = 0.0
    """The weight of the KL to the reference policy. DeepSeek-R1: 0.001."""
    kl_estimator: KLEstimator = "k3"
    """The estimator of that KL. DeepSeek-R1: k3."""
    reference_refresh_steps: PositiveInt | None = None
    """Steps after which the reference becomes the present policy; by default the starting model stays. DeepSeek-R1: 400
    updates."""
    num_iterations: PositiveInt = 1
    """Passes over each rollout. DeepSeek-R1: 1."""
    num_minibatches: PositiveInt = 1
    """Updates of each pass. DeepSeek-R1: 16."""
    importance_sampling_correction: ImportanceCorrection = "none"
    """What is done where the sampler's and the learner's probabilities differ."""
    importance_sampling_cap: PositiveFloat = 2.0
    """The ratio of the two at which the correction truncates or masks."""
    probe: ProbeSpec | None = None
    """A held-out set that is watched, so that a policy that games its rewards is noticed."""
    # Machine
    microbatch_tokens: PositiveInt = 16384
    """Tokens that are learnt from at once, in each worker."""
    # Records
    save_steps: PositiveInt = 10
    """Steps between two checkpoints."""
    log_completions_steps: PositiveInt = 10
    """Steps between two records of completions."""
    log_completions: NonNegativeInt = 64
    """How many completions such a record keeps."""

    @model_validator(mode="before")
    @classmethod
    def _fill(cls, data: Any) -> Any:
        """A preset's values where the recipe says nothing. It stays named, and what it set is written out."""
        preset = data.get("preset") if isinstance(data, dict) else None
        return {**PRESETS[preset], **data} if isinstance(preset, str) and preset in PRESETS else data

    @model_validator(mode="after")
    def _check(self) -> Self:
        high = self.epsilon if self.epsilon_high is None else self.epsilon_high
        refusals = (
            (self.num_generations < 2, "num_generations", "a group needs at least 2 to compare"),
            (high < self.epsilon, "epsilon_high", f"must be at least epsilon, {self.epsilon:g}"),
            (
                self.delta is not None and self.delta <= 1 + high,
                "delta",
                f"must be greater than 1 + epsilon_high = {1 + high:g}",
            ),
            (
                self.reference_refresh_steps is not None and not self.beta,
                "reference_refresh_steps",
                "there is no reference while beta is 0: set beta > 0 or leave this out",
            ),
            (
                self.num_minibatches > self.num_problems,
                "num_minibatches",
                f"must be at most num_problems, {self.num_problems}",
            ),
            (self.warmup_steps >= self.steps, "warmup_steps", f"must be less than steps, {self.steps}"),
            (not self.rewards and self.teacher is None, "rewards", "name at least one, or a teacher to distill from"),
            (
                self.advantage_estimator == "gae" and self.teacher is not None,
                "advantage_estimator",
                "a teacher gives an advantage to every token itself: use group",
            ),
            (
                self.advantage_estimator == "gae" and self.scale_rewards != "group",
                "scale_rewards",
                "PPO has no groups to scale by: leave it out with advantage_estimator gae",
            ),
        )
        for refused, field, why in refusals:
            if refused:
                raise ValueError(f"{field} = {getattr(self, field)}: {why}")
        for name, reward in self.rewards.items():
            if reward.from_step >= self.steps:
                raise ValueError(
                    f"rewards.{name}.from_step = {reward.from_step}: must be less than steps, {self.steps}"
                )
        return self

    @property
    def makes(self) -> Product:
        """A policy."""
        return "policy"

    @property
    def known_steps(self) -> int | None:
        """RL steps."""
        return self.steps

    @property
    def problems_drawn(self) -> int | None:
        """A step's problems, every step."""
        return self.steps * self.num_problems

    @property
    def is_off_policy_safe(self) -> bool:
        """Whether an importance correction is on."""
        return self.importance_sampling_correction != "none"

    def policies(self) -> Iterator[tuple[str, str]]:
        """See ``StageBase``."""
        yield "from", self.from_
        if self.teacher is not None:
            yield "teacher", self.teacher

    def reward_models(self) -> Iterator[tuple[str, str]]:
        """See ``StageBase``."""
        for name, reward in self.rewards.items():
            if name in MODEL_REWARDS and isinstance(model := reward.options.get("model"), str):
                yield f"rewards.{name}.model", model

    def problem_specs(self) -> Iterator[tuple[str, ProblemSpec]]:
        """See ``StageBase``."""
        yield "problems", self.problems
        if self.probe is not None:
            yield "probe.problems", self.probe.problems

    def reward_specs(self) -> Iterator[tuple[str, Mapping[str, RewardSpec], int]]:
        """See ``StageBase``."""
        yield "rewards", self.rewards, self.max_completion_length

    def functions(self) -> Iterator[tuple[str, str]]:
        """See ``StageBase``."""
        for field in ("loss_type", "advantage_estimator"):
            if ":" in (spec := getattr(self, field)):
                yield field, spec

    def shortened(self, steps: int) -> Self:
        """See ``StageBase``. Without the probe, which is no part of a step."""
        rewards = {name: spec.model_copy(update={"from_step": 0}) for name, spec in self.rewards.items()}
        changes = {"steps": steps, "no_signal_steps": steps, "rewards": rewards, "probe": None, "value_warmup_steps": 0}
        return self.model_copy(update=changes)

    def with_few_problems(self) -> Self:
        """See ``StageBase``."""
        few = {"num_problems": min(FEW_PROBLEMS, self.num_problems), "num_minibatches": 1, "dynamic_sampling": False}
        return self.model_copy(update=few)

    def cost(self, estimator: CostEstimator) -> Any:
        """See ``StageBase``."""
        return estimator.reinforcement(self)
