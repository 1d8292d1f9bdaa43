"""The stages that are not reinforcement learning: pre-training, data collection, SFT, judging, reward models.

One class a kind, its fields in the order in which they matter. Left out: what a stage does (``stages``).
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from thinkery.recipe.base import Dtype, Name, Probability, Strict
from thinkery.recipe.data import CorpusSpec, Data, Judging, ProblemSpec, check_shares
from thinkery.recipe.vllm import VLLMSpec

Share = Annotated[float, Field(ge=0, le=1)]


class PretrainStage(Strict):
    """Trains a tokenizer and a small model from nothing: Muon for matrices, AdamW for embeddings and norms."""

    name: Name
    kind: Literal["pretrain"]
    corpus: CorpusSpec
    architecture: Literal["qwen3", "llama"] = "qwen3"
    tokens: PositiveInt  # tokens to train on, in all
    vocab_size: PositiveInt = 1024
    hidden_size: PositiveInt = 256
    num_hidden_layers: PositiveInt = 4
    num_attention_heads: PositiveInt = 4
    num_key_value_heads: PositiveInt = 2
    head_dim: PositiveInt = 64
    intermediate_size: PositiveInt = 768
    context_length: PositiveInt = 256  # tokens a row
    batch_size: PositiveInt = 16  # rows a step
    learning_rate: PositiveFloat = 3e-3  # AdamW's
    muon_learning_rate: PositiveFloat = 0.02
    warmup_steps: NonNegativeInt = 0
    decay_fraction: Probability = 0.5  # share of the steps, at the end, over which both rates fall to zero
    compile: bool = False
    dtype: Dtype = "bfloat16"
    device: str = "auto"
    save_steps: PositiveInt = 500

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


class ReadableSpec(Strict):
    """What makes a sample fit to be read (DeepSeek-R1, cold start and rejection sampling). None switches a rule off."""

    min_language: Share | None = 0.9  # share of the thinking's words in the question's language
    max_repetition: Share | None = 0.3  # share of the thinking that repeats itself
    min_length: NonNegativeInt = 1  # tokens of thinking
    max_length: PositiveInt | None = None  # tokens of thinking; None: the sampling's limit
    max_paragraph: PositiveInt | None = 2000  # characters without a line break
    code_blocks: bool = False  # whether the thinking may hold fenced code


class RefineSpec(Strict):
    """How kept samples are rewritten into readable demonstrations.

    ``by``: ``rules`` tidies the thinking and writes the summary by rule; ``few-shot`` has the sampled model rewrite it
    after a few examples; ``endpoint`` asks a strong model. ``translate`` turns thinking in another language into the
    question's, instead of dropping the sample. A rewrite that changes the answer is dropped.
    """

    by: Literal["rules", "few-shot", "endpoint"] = "rules"
    translate: bool = False
    endpoint: Judging | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.by == "endpoint") and (self.endpoint is None or not self.endpoint.source.startswith("http")):
            raise ValueError("endpoint: name the one to ask, for example {source: http://localhost:8000/v1, model: m}")
        return self


class CollectStage(Strict):
    """Model -> demonstrations: cold start (from R1-Zero) and rejection sampling (from Dev2).

    Of ``num_generations`` samples a problem those that are correct and readable are kept, at most ``max_per_problem``,
    the best by the reward ``best_by`` first. Where no rule can check, the ``judge`` compares with the reference.
    """

    name: Name
    kind: Literal["collect"]
    from_: str = Field(alias="from")
    problems: ProblemSpec
    num_generations: PositiveInt = 4
    temperature: PositiveFloat = 1.0
    top_p: Probability = 1.0
    max_completion_length: PositiveInt = 256
    template: str | None = None  # the one to sample with; None: the recipe's for its base, else the saved one
    judge: Judging | None = None
    readable: ReadableSpec = ReadableSpec()
    refine: RefineSpec | None = None
    max_per_problem: PositiveInt = 1
    best_by: str | None = None  # a reward's name; None: the order of sampling
    deduplicate: Probability | None = 0.8  # share of 5-grams that makes two samples the same; None: off
    decontaminate: list[str] = []  # sources whose prompts must not be in it
    batch_problems: PositiveInt = 128  # sampled, graded and kept together; a killed stage goes on with the next
    max_slots: PositiveInt = 512
    vllm: VLLMSpec | None = None  # None: the native engine samples
    dtype: Dtype = "bfloat16"
    device: str = "auto"


class SFTStage(Strict):
    """Supervised fine-tuning on demonstrations: cold start, the 800k set, distillation.

    The loss is over completion tokens only, a mean over tokens; rows are packed up to ``max_length``. The learning
    rate falls by a cosine to ``min_lr_rate`` of its peak.
    """

    name: Name
    kind: Literal["sft"]
    from_: str = Field(alias="from")
    data: Annotated[list[Data], Field(min_length=1)]
    template: str | None = None  # kept with the result; None: the recipe's for its base, else the saved one
    epochs: PositiveInt = 2
    batch_size: PositiveInt = 128  # demonstrations an update
    max_length: PositiveInt = 32768  # tokens of a demonstration; longer ones are left out, and counted
    learning_rate: PositiveFloat = 5e-5
    lr_scheduler_type: Literal["constant", "linear", "cosine"] = "cosine"
    min_lr_rate: Share = 0.1
    warmup_steps: NonNegativeInt = 0
    optimizer: Literal["adamw", "muon"] = "adamw"
    weight_decay: NonNegativeFloat = 0.0
    max_grad_norm: PositiveFloat = 1.0
    microbatch_tokens: PositiveInt = 16384  # in each lane
    dtype: Dtype = "bfloat16"
    device: str = "auto"
    save_steps: PositiveInt = 50

    @model_validator(mode="after")
    def _check(self) -> Self:
        check_shares(self.data)
        return self


class JudgeStage(Strict):
    """Models' responses -> what reward models learn from: preference pairs, or safety labels.

    Each pair is judged ``num_verdicts`` times with the order drawn at random; pairs whose mean verdict is at most
    ``min_gap`` apart are dropped, and lengths balanced (DeepSeek-R1, helpful reward model).
    """

    name: Name
    kind: Literal["judge"]
    task: Literal["preference", "safety"]
    from_: str = Field(alias="from")
    others: list[str] = []  # further models that respond
    problems: ProblemSpec
    judge: Judging
    num_generations: PositiveInt = 2  # responses of each model to a problem
    mismatched: NonNegativeInt = 0  # of preference: responses to other problems, judged beside a problem's own
    temperature: PositiveFloat = 1.0
    max_completion_length: PositiveInt = 256
    num_verdicts: PositiveInt = 4
    min_gap: NonNegativeFloat = 1.0  # on the verdicts' scale of -2 to 2
    balance_lengths: bool = True
    batch_problems: PositiveInt = 128
    max_slots: PositiveInt = 512
    vllm: VLLMSpec | None = None  # None: the native engine samples
    dtype: Dtype = "bfloat16"
    device: str = "auto"

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.task == "preference" and self.num_generations * (1 + len(self.others)) < 2:
            raise ValueError("num_generations: a pair needs two responses")
        if self.task == "safety" and self.mismatched:
            raise ValueError("mismatched: only task preference compares responses")
        return self


class RewardModelStage(Strict):
    """A reward model: pairwise (Bradley-Terry) on preference pairs, or pointwise (safe or not) on labels.

    ``reads``: ``summary`` is what follows the thinking, ``response`` everything. ``held_out`` is the share of the data
    that accuracy, calibration and length bias are measured on.
    """

    name: Name
    kind: Literal["reward_model"]
    objective: Literal["pairwise", "pointwise"]
    reads: Literal["summary", "response"]
    from_: str = Field(alias="from")
    data: Annotated[list[Data], Field(min_length=1)]
    held_out: Annotated[float, Field(gt=0, lt=1)] = 0.1
    epochs: PositiveInt = 1
    batch_size: PositiveInt = 256  # pairs, or labelled responses
    max_length: PositiveInt = 8192  # tokens; longer ones are left out, and counted
    learning_rate: PositiveFloat = 6e-6
    lr_scheduler_type: Literal["constant", "linear", "cosine"] = "cosine"
    min_lr_rate: Share = 0.1
    warmup_steps: NonNegativeInt = 0
    weight_decay: NonNegativeFloat = 0.0
    max_grad_norm: PositiveFloat = 1.0
    microbatch_tokens: PositiveInt = 16384
    dtype: Dtype = "bfloat16"
    device: str = "auto"
    save_steps: PositiveInt = 50

    @model_validator(mode="after")
    def _check(self) -> Self:
        check_shares(self.data)
        return self
