"""The stages of a ladder beside reinforcement learning: pre-training, data collection, supervised fine-tuning.

One class a kind, its fields in the order in which they matter. Left out: reward models and what they learn from
(``preference.py``), and what a stage does (``stages``).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from thinkery.recipe.base import Probability, Share, Strict
from thinkery.recipe.data import CorpusSpec, Data, DataSpec, JudgeSpec, Judging, ProblemSpec, RewardSpec, check_shares
from thinkery.recipe.rollout import RolloutSpec
from thinkery.recipe.stage import CostEstimator, DataKind, Product, StageBase
from thinkery.types import OptimizerKind, Schedule


class PretrainStage(StageBase):
    """Trains a tokenizer and a small model from nothing: Muon for matrices, AdamW for embeddings and norms."""

    kind: Literal["pretrain"]
    """The kind of stage."""

    runner: ClassVar[str] = "thinkery.stages.pretrain:run_pretrain"
    on_cluster: ClassVar[bool] = False

    corpus: CorpusSpec
    """The documents to learn from."""
    architecture: Literal["qwen3", "llama"] = "qwen3"
    """The decoder's architecture."""
    tokens: PositiveInt
    """Tokens to train on in all."""
    vocab_size: PositiveInt = 1024
    """Tokens of the new tokenizer."""
    hidden_size: PositiveInt = 256
    """The width of the model."""
    num_hidden_layers: PositiveInt = 4
    """Layers of the model."""
    num_attention_heads: PositiveInt = 4
    """Heads of the attention's queries."""
    num_key_value_heads: PositiveInt = 2
    """Heads of its keys and values."""
    head_dim: PositiveInt = 64
    """The width of a head."""
    intermediate_size: PositiveInt = 768
    """The width of the feed-forward layers."""
    context_length: PositiveInt = 256
    """Tokens of a row."""
    batch_size: PositiveInt = 16
    """Rows of a step."""
    learning_rate: PositiveFloat = 3e-3
    """AdamW's learning rate at its peak."""
    muon_learning_rate: PositiveFloat = 0.02
    """Muon's learning rate at its peak."""
    warmup_steps: NonNegativeInt = 0
    """Steps over which both rates rise from zero."""
    decay_fraction: Probability = 0.5
    """The share of the steps, at the end, over which both rates fall to zero."""
    compile: bool = False
    """The model is compiled by `torch.compile` before it is trained."""
    save_steps: PositiveInt = 500
    """Steps between two checkpoints."""

    @property
    def steps(self) -> int:
        """Updates in all."""
        return self.tokens // (self.batch_size * self.context_length)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.num_attention_heads % self.num_key_value_heads:
            raise ValueError(
                f"num_key_value_heads = {self.num_key_value_heads}: must divide num_attention_heads, "
                f"{self.num_attention_heads}"
            )
        if not self.steps:
            raise ValueError(
                f"tokens = {self.tokens}: must be at least one batch, batch_size * context_length = "
                f"{self.batch_size * self.context_length}"
            )
        return self

    @property
    def makes(self) -> Product:
        """A policy."""
        return "policy"

    @property
    def known_steps(self) -> int | None:
        """Updates in all."""
        return self.steps

    def cost(self, estimator: CostEstimator) -> Any:
        """See ``StageBase``."""
        return estimator.pretraining(self)


class ReadableSpec(Strict):
    """What makes a sample fit to be read (DeepSeek-R1, cold start and rejection sampling). null switches a rule off."""

    min_language: Share | None = 0.9
    """The share of the thinking's words that must be in the question's language."""
    max_repetition: Share | None = 0.3
    """The share of the thinking that may repeat itself."""
    min_length: NonNegativeInt = 1
    """Tokens of thinking at least."""
    max_length: PositiveInt | None = None
    """Tokens of thinking at most; by default the sampling's limit."""
    max_paragraph: PositiveInt | None = 2000
    """Characters without a line break at most."""
    code_blocks: bool = False
    """The thinking may hold fenced code. DeepSeek-R1: dropped."""


class RefineSpec(Strict):
    """How kept samples are rewritten into readable demonstrations.

    ``by``: ``rules`` tidies the thinking and writes the summary by rule; ``few-shot`` has the sampled model rewrite it
    after a few examples; ``endpoint`` asks a strong model. ``translate`` turns thinking in another language into the
    question's, instead of dropping the sample. A rewrite that changes the answer is dropped.
    """

    by: Literal["rules", "few-shot", "endpoint"] = "rules"
    """How kept samples are rewritten: by rules, by the sampled model after examples, or by an endpoint."""
    translate: bool = False
    """Thinking in another language is translated into the question's instead of being dropped. DeepSeek-R1: translated
    (cold start)."""
    endpoint: Judging | None = None
    """The strong model that `by: endpoint` asks."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.by == "endpoint") and (self.endpoint is None or not self.endpoint.source.startswith("http")):
            raise ValueError("endpoint: name the one to ask, for example {source: http://localhost:8000/v1, model: m}")
        return self


class CollectStage(StageBase):
    """Model -> demonstrations: cold start (from R1-Zero) and rejection sampling (from Dev2).

    Of ``num_generations`` samples a problem those that are correct and readable are kept, at most ``max_per_problem``,
    the best by the reward ``best_by`` first. Where no rule can check, the ``judge`` compares with the reference.
    """

    kind: Literal["collect"]
    """The kind of stage."""

    runner: ClassVar[str] = "thinkery.stages.collect:run_collect"
    uses_verdicts: ClassVar[bool] = True

    from_: str = Field(alias="from")
    """The policy that is sampled: `base`, an earlier stage, a folder or a Hub id."""
    problems: ProblemSpec
    """The problems that it is asked."""
    num_generations: PositiveInt = 4
    """Samples of each problem."""
    temperature: PositiveFloat = 1.0
    """The temperature of sampling. DeepSeek-R1: 1.0 (cold start)."""
    top_p: Probability = 1.0
    """The share of the probability that sampling draws from."""
    max_completion_length: PositiveInt = 256
    """Tokens of a completion at most."""
    template: str | None = None
    """The template to ask with; by default the recipe's for its base, else the saved one."""
    judge: Judging | None = None
    """Who compares with the reference where no rule can check."""
    readable: ReadableSpec = ReadableSpec()
    """What makes a sample fit to be read."""
    refine: RefineSpec | None = None
    """How kept samples are rewritten; by default they stay as sampled."""
    max_per_problem: PositiveInt = 1
    """Samples of a problem that are kept at most."""
    best_by: str | None = None
    """The reward whose best samples are kept first; by default the order of sampling."""
    deduplicate: Probability | None = 0.8
    """The share of 5-grams that makes two samples the same; null keeps all."""
    decontaminate: list[str] = []
    """Sources whose prompts must not be in the result, by shared 10-grams."""
    batch_problems: PositiveInt = 128
    """Problems that are sampled, graded and kept together; a killed stage goes on with the next ones."""
    max_slots: PositiveInt = 512
    """How many completions are decoded at once."""
    rollout: RolloutSpec | None = None
    """The backend that samples; by default the native engine."""

    @property
    def makes(self) -> Product:
        """Demonstrations."""
        return "demonstrations"

    def kept_out(self) -> Iterator[tuple[str, str]]:
        """See ``StageBase``."""
        for i, source in enumerate(self.decontaminate):
            yield f"decontaminate[{i}]", source

    def problem_specs(self) -> Iterator[tuple[str, ProblemSpec]]:
        """See ``StageBase``."""
        yield "problems", self.problems

    def reward_specs(self) -> Iterator[tuple[str, Mapping[str, RewardSpec], int]]:
        """See ``StageBase``."""
        if self.best_by is not None:
            yield "best_by", {self.best_by: RewardSpec()}, self.max_completion_length

    def judge_specs(self) -> Iterator[tuple[str, JudgeSpec]]:
        """See ``StageBase``."""
        if self.judge is not None:
            yield "judge", self.judge
        if self.refine is not None and self.refine.endpoint is not None:
            yield "refine.endpoint", self.refine.endpoint

    def cost(self, estimator: CostEstimator) -> Any:
        """See ``StageBase``."""
        return estimator.sampling(self, [], min(self.max_per_problem, self.num_generations))


class SFTStage(StageBase):
    """Supervised fine-tuning on demonstrations: cold start, the 800k set, distillation.

    The loss is over completion tokens only, a mean over tokens; rows are packed up to ``max_length``. The learning
    rate falls by a cosine to ``min_lr_rate`` of its peak.
    """

    kind: Literal["sft"]
    """The kind of stage."""

    runner: ClassVar[str] = "thinkery.stages.sft:run_sft"

    from_: str = Field(alias="from")
    """The model to start from: `base`, an earlier stage, a folder or a Hub id."""
    data: Annotated[list[Data], Field(min_length=1)]
    """The demonstrations to learn from."""
    template: str | None = None
    """The template that is kept with the result; by default the recipe's for its base, else the saved one."""
    epochs: PositiveInt = 2
    """Passes over the data. DeepSeek-R1: 2-3."""
    batch_size: PositiveInt = 128
    """Demonstrations of an update. DeepSeek-R1: 128, of the students 64."""
    max_length: PositiveInt = 32768
    """Tokens of a demonstration at most; longer ones are left out and counted. DeepSeek-R1: 32,768."""
    learning_rate: PositiveFloat = 5e-5
    """The learning rate at its peak. DeepSeek-R1: 5e-5, of the students 2e-5 (70B) to 1e-4 (1.5B)."""
    lr_scheduler_type: Schedule = "cosine"
    """How the learning rate goes on after the warmup. DeepSeek-R1: cosine."""
    min_lr_rate: Share = 0.1
    """The part of its peak to which the learning rate falls. DeepSeek-R1: 0.1."""
    warmup_steps: NonNegativeInt = 0
    """Updates over which the learning rate rises from zero."""
    optimizer: OptimizerKind = "adamw"
    """AdamW, or Muon for the matrices with AdamW for the rest."""
    weight_decay: NonNegativeFloat = 0.0
    """The decay of the weights in every update, times the learning rate."""
    max_grad_norm: PositiveFloat = 1.0
    """The gradient's norm is cut to this."""
    microbatch_tokens: PositiveInt = 16384
    """Tokens that are learnt from at once, in each worker."""
    save_steps: PositiveInt = 50
    """Updates between two checkpoints."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        check_shares(self.data)
        return self

    @property
    def makes(self) -> Product:
        """A policy."""
        return "policy"

    @property
    def learns_from(self) -> DataKind | None:
        """Demonstrations."""
        return "demonstrations"

    def data_specs(self) -> Iterator[tuple[str, DataSpec]]:
        """See ``StageBase``."""
        for i, spec in enumerate(self.data):
            yield f"data[{i}]", spec

    def shortened(self, steps: int) -> Self:
        """See ``StageBase``."""
        return self.model_copy(update={"epochs": max(self.epochs, steps)})

    def without_data_of(self, stages: Collection[str]) -> Self:
        """See ``StageBase``."""
        return self.model_copy(update={"data": [spec for spec in self.data if spec.source not in stages]})

    def cost(self, estimator: CostEstimator) -> Any:
        """See ``StageBase``."""
        return estimator.learning(self, 1)
