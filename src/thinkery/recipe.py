"""The recipe: what to train, typed. Loads YAML, applies overrides, and refuses what is unknown or contradicts itself.

Field names are TRL's where TRL has one. Left out: whether a model, a reward or a problem file exists, which only the
rooms above can know; they say so before their stage's first step.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)

from thinkery.recipe_errors import explain
from thinkery.recipe_yaml import Loader, read_yaml
from thinkery.types import UserError
from thinkery.verification import Verification

Name = Annotated[  # becomes part of file names
    str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,39}$", description="at most 40 small letters, digits, - and _")
]
Probability = Annotated[float, Field(gt=0, le=1)]
Dtype = Literal["bfloat16", "float32"]

PROBLEM_COLUMNS = ("prompt", "answer", "id", "level", "language", "domain", "verifier")
_SETTING = "verification.math.units=required"
BASE = "base"  # the name under which stages and results refer to the starting model


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, populate_by_name=True)


class ProblemSpec(_Strict):
    """Which problems.

    ``source`` is ``mini`` (the miniature world), a file, a folder saved by ``datasets``, a data set of the Hub
    (``owner/name``, ``owner/name:config``) or ``gym://`` and families of reasoning-gym. ``columns`` maps this project's
    columns to the source's own: ``{prompt: question, answer: final}``, or to null where the source's column of that
    name is something else. Problems that share text with one of ``decontaminate`` (sources as well) are left out.
    """

    source: Annotated[
        str,
        Field(
            pattern=r"^mini$|^gym://\S+$|\.(jsonl|jsonl\.gz|json|parquet)$|/",
            description="mini, a file (.jsonl, .jsonl.gz, .json, .parquet), a folder/, owner/name or gym://family",
        ),
    ]
    split: str = "train"  # of mini, gym:// and data sets; a file has no splits
    n: PositiveInt | None = None  # None: all that the source has, or as many as the stage asks for
    levels: list[PositiveInt] = []  # empty: all levels
    languages: dict[str, PositiveFloat] = {}  # language -> share; empty: the source's own mixture
    seed: int = 0  # of the problems alone, so that runs of different seeds can share a held-out set
    columns: dict[str, str | None] = {}
    verifier: str | None = None  # None: as the source's columns say
    decontaminate: list[str] = []

    @model_validator(mode="after")
    def _check(self) -> Self:
        made = self.source == "mini" or self.source.startswith("gym://")
        if made and self.split not in ("train", "test"):
            raise ValueError(f"split = {self.split!r}: {self.source} has train and test")
        for field in ("columns", "verifier", "decontaminate"):
            if made and getattr(self, field):
                raise ValueError(f"{field}: {self.source} makes its problems itself, leave this out")
        for ours in self.columns:
            if ours not in PROBLEM_COLUMNS:
                raise ValueError(f"columns.{ours}: no such column; allowed: {', '.join(PROBLEM_COLUMNS)}")
        for ours in ("prompt", "answer"):
            if self.columns.get(ours, "") is None:
                raise ValueError(f"columns.{ours}: name the column that holds it")
        return self


class CorpusSpec(_Strict):
    """What to pre-train on."""

    source: Literal["mini"]
    seed: int = 0


class EvalSpec(_Strict):
    """A held-out evaluation: k samples a problem (DeepSeek-R1: temperature 0.6, top-p 0.95)."""

    problems: ProblemSpec
    num_samples: PositiveInt = 16
    temperature: NonNegativeFloat = 0.6
    top_p: Probability = 0.95
    max_completion_length: PositiveInt = 256
    template: str | None = None  # None: the recipe's
    max_slots: PositiveInt = 512
    dtype: Dtype = "bfloat16"
    device: str = "auto"


class RewardSpec(BaseModel):
    """A reward's weight and its own options: ``{weight: 0.5, buffer: 64}``. A number alone is the weight."""

    model_config = ConfigDict(extra="allow", frozen=True, allow_inf_nan=False)

    weight: float = 1.0

    @property
    def options(self) -> dict[str, Any]:
        """What the reward itself is given; only the reward knows what it takes."""
        return dict(self.model_extra or {})

    @model_serializer(mode="wrap")
    def _short(self, serialize: SerializerFunctionWrapHandler) -> Any:
        return serialize(self) if self.model_extra else self.weight


def _weight_alone(value: Any) -> Any:
    return {"weight": value} if isinstance(value, int | float) and not isinstance(value, bool) else value


WeightedReward = Annotated[RewardSpec, BeforeValidator(_weight_alone, json_schema_input_type=float | RewardSpec)]


class PretrainStage(_Strict):
    """Trains a tokenizer and a Qwen3-shaped model from nothing: Muon for matrices, AdamW for embeddings and norms."""

    name: Name
    kind: Literal["pretrain"]
    corpus: CorpusSpec
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


class RLStage(_Strict):
    """GRPO with verifiable rewards. R1-Zero and its successors differ in these fields alone."""

    name: Name
    kind: Literal["rl"]
    from_: str = Field(alias="from")  # "base", an earlier stage, a folder or a Hub id
    problems: ProblemSpec
    rewards: Annotated[dict[str, WeightedReward], Field(min_length=1)]
    reward_errors: Literal["stop", "zero"] = "stop"  # what an exception in a reward of the user's does
    reward_timeout_s: PositiveFloat = 600.0  # how long one reward may take for a whole batch
    steps: PositiveInt
    # Rollout
    num_problems: PositiveInt = 32  # a step
    num_generations: PositiveInt = 16  # completions a problem
    temperature: PositiveFloat = 1.0
    top_p: Probability = 1.0
    top_k: NonNegativeInt = 0  # 0: off
    max_completion_length: PositiveInt = 256  # tokens
    dynamic_sampling: bool = False  # refill groups that are all right or all wrong (DAPO)
    max_refills: PositiveInt = 3  # rounds of refilling a step, with dynamic_sampling
    max_slots: PositiveInt = 512  # completions decoded at once
    # Optimizer
    learning_rate: PositiveFloat
    optimizer: Literal["adamw", "muon"] = "adamw"
    weight_decay: NonNegativeFloat = 0.0
    max_grad_norm: PositiveFloat = 1.0
    lr_scheduler_type: Literal["constant", "linear", "cosine"] = "constant"
    warmup_steps: NonNegativeInt = 0
    # Objective
    loss_type: Literal["grpo", "dapo", "dr_grpo"] = "dapo"  # mean by sequence, by token, or by a constant
    scale_rewards: Literal["group", "batch", "none"] = "group"  # what the advantage is divided by
    epsilon: PositiveFloat = 0.2
    epsilon_high: PositiveFloat | None = None  # None: epsilon
    delta: PositiveFloat | None = None  # dual clip of the ratio on negative advantages; None: off
    beta: NonNegativeFloat = 0.0  # weight of the KL to the reference
    kl_estimator: Literal["k1", "k2", "k3"] = "k3"
    reference_refresh_steps: PositiveInt | None = None  # None: the reference stays the starting model
    num_iterations: PositiveInt = 1  # passes over a rollout
    num_minibatches: PositiveInt = 1  # updates a pass
    importance_sampling_correction: Literal["none", "truncate", "mask"] = "none"  # for rollout != learner
    importance_sampling_cap: PositiveFloat = 2.0
    # Machine
    microbatch_tokens: PositiveInt = 16384
    dtype: Dtype = "bfloat16"
    device: str = "auto"
    # Records
    save_steps: PositiveInt = 10
    log_completions_steps: PositiveInt = 10
    log_completions: NonNegativeInt = 64  # how many are kept at each of those steps

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
        )
        for refused, field, why in refusals:
            if refused:
                raise ValueError(f"{field} = {getattr(self, field)}: {why}")
        return self


Stage = Annotated[PretrainStage | RLStage, Field(discriminator="kind")]


class Recipe(_Strict):
    """A ladder: a starting model, stages in order, and what every stage's model is evaluated on."""

    name: Name
    seed: NonNegativeInt = 0
    base: str | None = None  # thinkery://mini-base, a folder or a Hub id; None if every stage starts from nothing
    template: str | None = None  # r1-zero, r1-zero-compact, chat-think; None: the one saved with the model
    output_dir: str | None = None  # None: runs/<name>
    verification: Verification = Verification()  # how answers are judged, in training and evaluation alike
    stages: Annotated[list[Stage], Field(min_length=1)]
    evaluate: dict[Name, EvalSpec] = {}

    @model_validator(mode="after")
    def _check(self) -> Self:
        reserved = {BASE, *type(self).model_fields}
        earlier: list[str] = []
        for stage in self.stages:
            if stage.name in reserved:
                raise ValueError(f"stages: the name {stage.name!r} is reserved, call the stage something else")
            if stage.name in earlier:
                raise ValueError(f"stages: two stages are named {stage.name!r}, names must differ")
            if isinstance(stage, RLStage):
                self._check_from(stage, earlier)
            earlier.append(stage.name)
        return self

    def _check_from(self, stage: RLStage, earlier: Sequence[str]) -> None:
        if stage.from_ == BASE and self.base is None:
            raise ValueError(f"base: missing, but {stage.name}.from is {BASE!r}; give a folder or a Hub id")
        if stage.from_ == BASE or stage.from_ in earlier or "/" in stage.from_:
            return
        allowed = ", ".join([BASE, *earlier])
        raise ValueError(f"{stage.name}.from = {stage.from_!r}: allowed: {allowed}, or a path or Hub id with a '/'")

    def to_yaml(self) -> str:
        """The recipe with every default filled in; ``load_recipe`` reads it back to an equal recipe."""
        data = self.model_dump(mode="json", by_alias=True, exclude_none=True)
        return yaml.safe_dump(data, sort_keys=False, allow_unicode=True)


def load_recipe(path: Path, overrides: Sequence[str] = (), seed: int | None = None) -> Recipe:
    """Reads a recipe, applies overrides like ``zero.learning_rate=1e-4`` and checks all of it.

    Raises ``UserError`` with one line that names the field, its value and what is allowed.
    """
    data = read_yaml(path, Recipe.model_fields)
    for override in overrides:
        _apply(data, override)
    if seed is not None:
        data["seed"] = seed
    try:
        return Recipe.model_validate(data)
    except ValidationError as error:
        raise UserError(f"{path}: {explain(error, data, Recipe.model_json_schema())}") from None


class _Settings(_Strict):
    """The part of a recipe that a command without a recipe can have."""

    verification: Verification = Verification()


def load_verification(overrides: Sequence[str]) -> Verification:
    """The default verification with overrides like ``verification.math.units=required``. Raises ``UserError``."""
    data: dict[str, Any] = {}
    for override in overrides:
        _apply(data, override)
        if not data.keys() <= _Settings.model_fields.keys():
            raise UserError(f"--set {override}: here only verification can be set, for example {_SETTING}")
    try:
        return _Settings.model_validate(data).verification
    except ValidationError as error:
        raise UserError(f"--set: {explain(error, data, _Settings.model_json_schema())}") from None


def diff_recipes(old: Recipe, new: Recipe) -> list[str]:
    """What changed, as ``field: old -> new``. Where a run is kept (``output_dir``) is no change of what it does."""
    before, after = (dict(_flat(recipe)) for recipe in (old, new))
    paths = dict.fromkeys([*before, *after])
    return [
        f"{path}: {before.get(path, 'absent')} -> {after.get(path, 'absent')}"
        for path in paths
        if before.get(path) != after.get(path) and path != "output_dir"
    ]


def _flat(recipe: Recipe) -> Iterator[tuple[str, Any]]:
    """Leaves by their path, stages by their name; the order of the stages is a leaf as well."""
    data = recipe.model_dump(mode="json", by_alias=True, exclude_none=True)
    stages = data.pop("stages")
    yield from _leaves("", data)
    yield "stages", ", ".join(stage["name"] for stage in stages)
    for stage in stages:
        yield from _leaves(stage.pop("name") + ".", stage)


def _leaves(prefix: str, data: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in data.items():
        if isinstance(value, dict) and value:
            yield from _leaves(f"{prefix}{key}.", value)
        else:
            yield prefix + key, value


def _apply(data: dict[str, Any], override: str) -> None:
    """Sets one field in place. The path starts with a stage's name or a field of the recipe itself."""
    path, separator, text = override.partition("=")
    head, *rest = path.strip().split(".")
    if not separator or not all([head, *rest]):
        raise UserError(f"--set {override}: write it as field=value, for example zero.learning_rate=1e-4")
    try:
        value = yaml.load(text, Loader)
    except yaml.YAMLError:
        raise UserError(f"--set {override}: {text!r} is not a YAML value; quote it") from None
    listed = data["stages"] if isinstance(data.get("stages"), list) else []
    stages = {str(stage.get("name")): stage for stage in listed if isinstance(stage, dict)}
    if head not in stages and head not in Recipe.model_fields:
        known = [*stages, *Recipe.model_fields]
        close = difflib.get_close_matches(head, known, n=1)
        hint = f"did you mean {close[0]}?" if close else f"known: {', '.join(known)}"
        raise UserError(f"--set {override}: no stage or field is named {head!r}; {hint}")
    target = stages.get(head, data)
    keys = rest if head in stages else [head, *rest]
    if not keys:
        raise UserError(f"--set {override}: name a field of the stage, for example {head}.steps=10")
    for key in keys[:-1]:
        target = target.setdefault(key, {})
        if not isinstance(target, dict):
            raise UserError(f"--set {override}: {key!r} has no fields of its own")
    target[keys[-1]] = value
