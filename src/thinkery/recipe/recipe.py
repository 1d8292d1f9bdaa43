"""The recipe as a whole: a starting model, stages in order, held-out evaluations; and whether its names fit together.

Left out: reading and overriding (``load.py``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Self

import yaml
from pydantic import Field, NonNegativeInt, model_validator

from thinkery.recipe.base import BASE, Name, RecipeName, Strict
from thinkery.recipe.cluster import ClusterSpec
from thinkery.recipe.data import EvalSpec
from thinkery.recipe.rl import RLStage
from thinkery.recipe.stages import CollectStage, JudgeStage, PretrainStage, RewardModelStage, SFTStage
from thinkery.recipe.verification import Verification

Stage = Annotated[
    PretrainStage | RLStage | CollectStage | SFTStage | JudgeStage | RewardModelStage, Field(discriminator="kind")
]
POLICIES = (PretrainStage, RLStage, SFTStage)  # what they make can be sampled from, and is evaluated
MODEL_REWARDS = ("helpful", "safety", "model")  # rewards whose option ``model`` names a reward model
DATA = (CollectStage, JudgeStage)  # what they make is data


class Recipe(Strict):
    """A ladder: a starting model, stages in order, and what every stage's model is evaluated on."""

    name: RecipeName
    seed: NonNegativeInt = 0
    base: str | None = None  # thinkery://mini-base, a folder or a Hub id; None if every stage starts from nothing
    template: str | None = None  # r1-zero, r1-zero-compact, chat-think; None: the one saved with the model
    output_dir: str | None = None  # None: runs/<name>
    cluster: ClusterSpec | None = None  # None: everything in this process
    verification: Verification = Verification()  # how answers are judged, in training and evaluation alike
    stages: list[Stage] = []  # empty only where a base is evaluated as it is
    evaluate: dict[Name, EvalSpec] = {}

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not self.stages and (self.base is None or not self.evaluate):
            raise ValueError("stages: name at least one, or a base and what to evaluate it on")
        reserved = {BASE, "mini", *type(self).model_fields}
        earlier: dict[str, Stage] = {}
        for stage in self.stages:
            if stage.name in reserved:
                raise ValueError(f"stages: the name {stage.name!r} is reserved, call the stage something else")
            if stage.name in earlier:
                raise ValueError(f"stages: two stages are named {stage.name!r}, names must differ")
            for field, reference in model_references(stage):
                self._check_model(f"{stage.name}.{field}", reference, earlier)
            for field, reference in data_references(stage):
                _check_data(f"{stage.name}.{field}", reference, stage, earlier)
            earlier[stage.name] = stage
        self._check_correction()
        for name, spec in self.evaluate.items():
            for model in spec.models:
                if model != BASE and not isinstance(earlier.get(model), POLICIES):
                    raise ValueError(f"evaluate.{name}.models: {model!r} is no stage that makes a model to sample from")
        return self

    def _check_correction(self) -> None:
        """Tokens that older weights sampled must not be learnt from as if the present ones had."""
        if self.cluster is None or not self.cluster.ahead.off_policy:
            return
        for stage in self.stages:
            if isinstance(stage, RLStage) and stage.importance_sampling_correction == "none":
                raise ValueError(
                    f"{stage.name}.importance_sampling_correction = 'none': cluster.async_steps and cluster.oversample "
                    "let it learn from what older weights sampled; write truncate or mask"
                )

    def _check_model(self, field: str, reference: str, earlier: Mapping[str, Stage]) -> None:
        if reference == BASE and self.base is None:
            raise ValueError(f"base: missing, but {field} is {BASE!r}; give a folder or a Hub id")
        wanted = RewardModelStage if field.endswith(".model") else POLICIES
        if (reference == BASE and wanted is POLICIES) or "/" in reference or isinstance(earlier.get(reference), wanted):
            return
        fit = [name for name, stage in earlier.items() if isinstance(stage, wanted)]
        allowed = ", ".join([BASE, *fit] if wanted is POLICIES else fit) or "no stage before it"
        raise ValueError(f"{field} = {reference!r}: allowed: {allowed}, or a path or Hub id with a '/'")

    def to_yaml(self) -> str:
        """The recipe with every default filled in; ``load_recipe`` reads it back to an equal recipe."""
        data = self.model_dump(mode="json", by_alias=True)  # with null: it may switch a default off
        return yaml.safe_dump(data, sort_keys=False, allow_unicode=True)


def model_references(stage: Stage) -> Iterator[tuple[str, str]]:
    """Every model that a stage starts from or asks, with the field that names it."""
    if not isinstance(stage, PretrainStage):
        yield "from", stage.from_
    if isinstance(stage, JudgeStage):
        for other in stage.others:
            yield "others", other
    if isinstance(stage, RLStage):
        if stage.teacher is not None:
            yield "teacher", stage.teacher
        for name, reward in stage.rewards.items():
            if name in MODEL_REWARDS and isinstance(model := reward.options.get("model"), str):
                yield f"rewards.{name}.model", model


def data_references(stage: Stage) -> Iterator[tuple[str, str]]:
    """Every source of demonstrations, pairs or labels that a stage learns from."""
    if isinstance(stage, SFTStage | RewardModelStage):
        for i, spec in enumerate(stage.data):
            yield f"data[{i}].source", spec.source


def _check_data(field: str, reference: str, stage: Stage, earlier: Mapping[str, Stage]) -> None:
    """A data set's name must be that of an earlier stage that makes such data."""
    maker = earlier.get(reference)
    if isinstance(stage, SFTStage):
        fits = isinstance(maker, CollectStage) or (maker is None and reference == "mini")
        fit = [name for name, one in earlier.items() if isinstance(one, CollectStage)] + ["mini"]
    else:
        task = "preference" if isinstance(stage, RewardModelStage) and stage.objective == "pairwise" else "safety"
        fits = isinstance(maker, JudgeStage) and maker.task == task
        fit = [name for name, one in earlier.items() if isinstance(one, JudgeStage) and one.task == task]
    if fits or (maker is None and ("/" in reference or "." in reference)):
        return
    allowed = ", ".join(fit) or "no stage before it"
    raise ValueError(f"{field} = {reference!r}: allowed: {allowed}, a file or a data set (owner/name)")
