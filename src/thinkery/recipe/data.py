"""What a stage works on: problems, demonstrations, rewards, judges, held-out evaluations.

Left out: whether a file, a model or a judge exists, which only the packages above can know.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self

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
    model_serializer,
    model_validator,
)

from thinkery.plugins import registered
from thinkery.recipe.base import Name, Probability, Strict
from thinkery.recipe.rollout import RolloutSpec
from thinkery.types import Dtype, PreferenceSet

PROBLEM_COLUMNS = ("prompt", "answer", "id", "level", "language", "domain", "verifier")
OnBadRow = Literal["stop", "skip"]
_PLACE = re.compile(r"^gym://\S+$|\.((jsonl|csv|tsv)(\.gz)?|json|parquet)$|/")


def _worlds() -> str:
    """The problem sources that installed packages bring, for an error."""
    return " or ".join(registered("problems"))


class ProblemSpec(Strict):
    """Which problems.

    ``source`` is ``mini`` (the miniature world), a file, a folder saved by ``datasets``, a data set of the Hub
    (``owner/name``, ``owner/name:config``) or ``gym://`` and families of reasoning-gym. ``columns`` maps this project's
    columns to the source's own: ``{prompt: question, answer: final}``, or to null where the source's column of that
    name is something else. Problems that share text with one of ``decontaminate`` (sources as well) are left out.
    """

    source: str
    """The miniature world `mini`, a file, a folder of `datasets`, `owner/name` on the Hub or `gym://family`."""
    split: str = "train"
    """The split of `mini`, of reasoning-gym and of data sets; a file has none."""
    n: PositiveInt | None = None
    """How many problems; by default all of them, or as many as the stage asks for."""
    levels: list[PositiveInt] = []
    """The levels to take; none named means all."""
    languages: dict[str, PositiveFloat] = {}
    """The share of each language; none named keeps the source's own mixture."""
    seed: int = 0
    """The seed of the problems alone, so that runs of different seeds can share a held-out set."""
    columns: dict[str, str | None] = {}
    """The source's name for each of our columns, as `{prompt: question}`; null says that it has none."""
    verifier: str | None = None
    """Who checks the answers; by default the source's columns say."""
    on_bad_row: OnBadRow = "stop"
    """What a row that can't be used does: `stop` lists all of them, `skip` goes on without them and says which."""
    decontaminate: list[str] = []
    """Sources whose problems are left out, by shared 10-grams."""
    domains: dict[str, PositiveFloat] = {}
    """The share of each domain of `mini`; none named means its reasoning domains."""
    preference: PreferenceSet | None = None
    """Which reward model reads the responses; by default the column of that name says, if any."""
    share: PositiveFloat = 1.0
    """The weight of this source beside those of `also`, from which problems are drawn in proportion."""
    also: list[ProblemSpec] = []
    """Further sources that are mixed in; `n` and `decontaminate` are each source's own."""

    @property
    def all(self) -> list[ProblemSpec]:
        """This source and those mixed in."""
        return [self, *self.also]

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.source not in registered("problems") and not _PLACE.search(self.source):
            known = "a file (.jsonl, .json, .csv, .tsv, .parquet), a folder/, owner/name or gym://family"
            raise ValueError(f"source = {self.source!r}: allowed: {', '.join(registered('problems'))}, {known}")
        made = self.source in registered("problems") or self.source.startswith("gym://")
        if made and self.split not in ("train", "test"):
            raise ValueError(f"split = {self.split!r}: {self.source} has train and test")
        for field in ("columns", "verifier", "decontaminate"):
            if made and getattr(self, field):
                raise ValueError(f"{field}: {self.source} makes its problems itself, leave this out")
        if self.domains and self.source not in registered("problems"):
            raise ValueError(f"domains: only {_worlds()} has domains to choose from; leave this out for {self.source}")
        if any(spec.also for spec in self.also):
            raise ValueError("also: a source mixed in can't mix in others; list them all in one place")
        for ours in self.columns:
            if ours not in PROBLEM_COLUMNS:
                raise ValueError(f"columns.{ours}: no such column; allowed: {', '.join(PROBLEM_COLUMNS)}")
        for ours in ("prompt", "answer"):
            if self.columns.get(ours, "") is None:
                raise ValueError(f"columns.{ours}: name the column that holds it")
        return self


class CorpusSpec(Strict):
    """What to pre-train on."""

    source: str
    """The installed problem source that writes the documents, such as `mini`."""
    seed: int = 0
    """The seed of the documents."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.source not in registered("problems"):
            raise ValueError(f"source = {self.source!r}: allowed: {_worlds()}")
        return self


class JudgeSpec(Strict):
    """Who judges responses where no rule can.

    The miniature world has two: its labeller ``mini``, stated and imperfect, and for held-out measurement
    ``mini-true``, its true preference. An endpoint is an OpenAI-compatible one.
    """

    source: str
    """Who judges where no rule can: an endpoint `http://host/v1`, or `mini`, the miniature's labeller."""
    model: str | None = None
    """The model to ask at the endpoint."""
    api_key_env: str | None = None
    """The environment variable that holds the endpoint's key."""
    concurrency: PositiveInt = 8
    """How many requests are in progress at once."""
    timeout_s: PositiveFloat = 120.0
    """Seconds for one request."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        is_endpoint = re.fullmatch(r"https?://\S+", self.source) is not None
        if not is_endpoint and self.source not in registered("judges"):
            known = ", ".join(registered("judges"))
            raise ValueError(f"source = {self.source!r}: allowed: {known} or http://host/v1")
        if is_endpoint and self.model is None:
            raise ValueError(f"model: name the model that {self.source} should ask")
        return self


def _source_alone(value: Any) -> Any:
    return {"source": value} if isinstance(value, str) else value


Judging = Annotated[JudgeSpec, BeforeValidator(_source_alone, json_schema_input_type=str | JudgeSpec)]


class DataSpec(Strict):
    """Demonstrations, preference pairs or safety labels to learn from.

    ``source`` is the name of an earlier stage that made them, ``mini`` (what people of the miniature world write on
    its general domain: the share ``careful`` by a competent and friendly writer, the rest by ordinary ones), a file, a
    folder saved by ``datasets`` or a data set of the Hub. A name alone is the source. ``share`` makes this source that
    part of the whole set, by number, next to sources without a share.
    """

    source: str
    """An earlier stage, `mini`, a file, a folder of `datasets` or `owner/name` on the Hub."""
    n: PositiveInt | None = None
    """How many rows are drawn; by default all."""
    share: Annotated[float, Field(gt=0, lt=1)] | None = None
    """The part of the whole set that this source makes up, by number."""
    split: str = "train"
    """The split of a data set; a file has none."""
    languages: dict[str, PositiveFloat] = {}
    """The share of each language in what `mini` writes."""
    careful: Annotated[float, Field(ge=0, le=1)] = 1.0
    """The share of what `mini` writes that a competent, friendly writer writes."""
    seed: int = 0
    """The seed of what `mini` writes, and of which `n` rows are drawn."""
    columns: dict[str, str | None] = {}
    """The source's name for each of our columns, as `{prompt: question}`."""
    on_bad_row: OnBadRow = "stop"
    """What a row that can't be used does: `stop` lists all of them, `skip` goes on without them and says which."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.n is not None and self.share is not None:
            raise ValueError("n and share: give one of them")
        made = self.source in registered("problems")
        if made and self.n is None and self.share is None:
            raise ValueError(f"n: {self.source} is endless, say how many, for example n: 500")
        if made and self.split not in ("train", "test"):
            raise ValueError(f"split = {self.split!r}: {self.source} has train and test")
        if not made and self.languages:
            raise ValueError(f"languages: only {_worlds()} can choose; leave this out for {self.source}")
        if not made and self.careful < 1:
            raise ValueError(f"careful: only {_worlds()} has writers to choose from; leave this out for {self.source}")
        if self.columns and "/" not in self.source and "." not in self.source:
            raise ValueError(f"columns: the columns of {self.source} are known; leave this out")
        return self


Data = Annotated[DataSpec, BeforeValidator(_source_alone, json_schema_input_type=str | DataSpec)]


def check_shares(data: Sequence[DataSpec]) -> None:
    """Raises ``ValueError`` unless some source has no share and the shares leave room for it."""
    total = sum(spec.share or 0.0 for spec in data)
    if total and (total >= 1 or all(spec.share for spec in data)):
        raise ValueError("data: one source at least must have no share, and the shares must sum to less than 1")


class EvalSpec(Strict):
    """A held-out evaluation: k samples a problem (DeepSeek-R1: temperature 0.6, top-p 0.95)."""

    problems: ProblemSpec
    """The held-out problems."""
    num_samples: PositiveInt = 16
    """Samples of each problem. DeepSeek-R1: 64 (AIME, GPQA), 16 (MATH, Codeforces), 8 (LiveCodeBench)."""
    temperature: NonNegativeFloat = 0.6
    """The temperature of sampling; 0 is greedy. DeepSeek-R1: 0.6."""
    top_p: Probability = 0.95
    """The share of the probability that sampling draws from. DeepSeek-R1: 0.95."""
    max_completion_length: PositiveInt = 256
    """Tokens of a completion at most. DeepSeek-R1: 32,768."""
    template: str | None = None
    """The template to ask with; by default the recipe's for its base, and the saved one for every other model."""
    models: list[Name] = []
    """The stages whose models are measured, `base` being the starting model; none named means all."""
    shots: NonNegativeInt = 0
    """Solved problems of the train split that are shown before the question."""
    judge: Judging | None = None
    """Who compares responses with the references, for a win rate and the share of unsafe ones."""
    max_slots: PositiveInt = 512
    """How many completions are decoded at once."""
    rollout: RolloutSpec | None = None
    """The backend that samples; by default the native engine."""
    dtype: Dtype = "bfloat16"
    """The number format that the model computes in; its weights are kept in float32."""
    device: str = "auto"
    """`cpu`, `cuda`, `cuda:1`, or `auto` for a GPU where there is one."""


class ProbeSpec(Strict):
    """A held-out verifiable set watched during RL: a policy that games its reward loses here.

    The stage stops, keeping the best policy, if the score falls more than ``max_drop`` below the best seen so far.
    """

    problems: ProblemSpec
    """Held-out problems that rules can check."""
    every: PositiveInt = 10
    """Steps between two looks."""
    num_samples: PositiveInt = 4
    """Samples of each problem."""
    temperature: NonNegativeFloat = 0.6
    """The temperature of sampling; 0 is greedy."""
    top_p: Probability = 0.95
    """The share of the probability that sampling draws from."""
    max_drop: Annotated[float, Field(gt=0, le=1)] | None = None
    """How far pass@1 may fall below the best look before the stage stops; null never stops."""


class RewardSpec(BaseModel):
    """A reward's weight and its own options: ``{weight: 0.5, buffer: 64}``. A number alone is the weight."""

    model_config = ConfigDict(extra="allow", frozen=True, allow_inf_nan=False)

    weight: float = 1.0
    """What the reward is multiplied by before all are summed. DeepSeek-R1: accuracy and format weigh the same."""
    from_step: NonNegativeInt = 0
    """The step, counted from 0, at which it enters. DeepSeek-R1: preference in the last 400 of 1,700."""

    @property
    def options(self) -> dict[str, Any]:
        """What the reward itself is given; only the reward knows what it takes."""
        return dict(self.model_extra or {})

    @model_serializer(mode="wrap")
    def _short(self, serialize: SerializerFunctionWrapHandler) -> Any:
        return serialize(self) if self.model_extra or self.from_step else self.weight


def _weight_alone(value: Any) -> Any:
    return {"weight": value} if isinstance(value, int | float) and not isinstance(value, bool) else value


WeightedReward = Annotated[RewardSpec, BeforeValidator(_weight_alone, json_schema_input_type=float | RewardSpec)]
