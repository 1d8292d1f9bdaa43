"""The recipe as a whole: a starting model, stages in order, held-out evaluations; and whether its names fit together.

Left out: reading and overriding (``load.py``).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Annotated, Self

import yaml
from pydantic import NonNegativeInt, model_validator

from thinkery.plugins import load, names_beside, registered
from thinkery.recipe.base import BASE, Name, OneOf, RecipeName, Strict
from thinkery.recipe.cluster import ClusterSpec
from thinkery.recipe.data import EvalSpec
from thinkery.recipe.preference import JudgeStage, RewardModelStage
from thinkery.recipe.rl import RLStage
from thinkery.recipe.stage import Product, StageBase
from thinkery.recipe.stages import CollectStage, PretrainStage, SFTStage
from thinkery.recipe.verification import Verification

TRUST_REMOTE_CODE, UNSAFE_LOCAL = "trust_remote_code", "verification.code.unsafe_local"
PERMISSIONS = {TRUST_REMOTE_CODE: "--trust-remote-code", UNSAFE_LOCAL: "--unsafe-local"}  # field -> what alone gives it
KINDS: dict[str, type[StageBase]] = {  # the project's own; those of installed packages come beside them
    "pretrain": PretrainStage,
    "rl": RLStage,
    "collect": CollectStage,
    "sft": SFTStage,
    "judge": JudgeStage,
    "reward_model": RewardModelStage,
}


@cache
def stage_kinds() -> Mapping[str, type[StageBase]]:
    """Every kind of stage by the name that recipes use."""
    return {name: KINDS[name] if name in KINDS else load("stages", name) for name in names_beside("stages", KINDS)}


Stage = Annotated[StageBase, OneOf("kind", stage_kinds)]


class Recipe(Strict):
    """A ladder: a starting model, stages in order, and what every stage's model is evaluated on."""

    name: RecipeName
    """The recipe's name, by which its run folder is called."""
    seed: NonNegativeInt = 0
    """All randomness of the run is counted from it."""
    base: str | None = None
    """The starting model: `thinkery://mini-base`, a folder or a Hub id; none if every stage starts from nothing."""
    template: str | None = None
    """The base's template: `r1-zero`, `r1-zero-compact`, `r1-compact` or `chat-think`; by default the saved one."""
    output_dir: str | None = None
    """The run folder; by default `runs/<name>`."""
    cluster: ClusterSpec | None = None
    """The workers on Ray; by default everything is in this process."""
    trust_remote_code: bool = False
    """Python code that checkpoints bring along is run; only `--trust-remote-code` can allow it."""
    verification: Verification = Verification()
    """How answers are judged, in training and evaluation alike."""
    stages: list[Stage] = []
    """The stages in their order; none only where a base is evaluated as it is."""
    evaluate: dict[Name, EvalSpec] = {}
    """The held-out evaluations by name, done for the base and after every stage that makes a policy."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not self.stages and (self.base is None or not self.evaluate):
            raise ValueError("stages: name at least one, or a base and what to evaluate it on")
        reserved = {BASE, *registered("problems"), *type(self).model_fields}
        earlier: dict[str, Stage] = {}
        for stage in self.stages:
            if stage.name in reserved:
                raise ValueError(f"stages: the name {stage.name!r} is reserved, call the stage something else")
            if stage.name in earlier:
                raise ValueError(f"stages: two stages are named {stage.name!r}, names must differ")
            for field, reference in stage.policies():
                self._check_model(f"{stage.name}.{field}", reference, earlier, "policy")
            for field, reference in stage.reward_models():
                self._check_model(f"{stage.name}.{field}", reference, earlier, "reward model")
            for field, data in stage.data_specs():
                _check_data(f"{stage.name}.{field}.source", data.source, stage, earlier)
            earlier[stage.name] = stage
        self._check_correction()
        for name, spec in self.evaluate.items():
            for model in spec.models:
                if model != BASE and (model not in earlier or earlier[model].makes != "policy"):
                    raise ValueError(f"evaluate.{name}.models: {model!r} is no stage that makes a model to sample from")
        return self

    def _check_correction(self) -> None:
        """Tokens that older weights sampled must not be learnt from as if the present ones had."""
        if self.cluster is None or not self.cluster.ahead.off_policy:
            return
        for stage in self.stages:
            if not stage.is_off_policy_safe:
                raise ValueError(
                    f"{stage.name}.importance_sampling_correction = 'none': cluster.async_steps and cluster.oversample "
                    "let it learn from what older weights sampled; write truncate or mask"
                )

    def _check_model(self, field: str, reference: str, earlier: Mapping[str, Stage], wanted: Product) -> None:
        if reference == BASE and self.base is None:
            raise ValueError(f"base: missing, but {field} is {BASE!r}; give a folder or a Hub id")
        fit = [BASE] if wanted == "policy" else []
        fit += [name for name, stage in earlier.items() if stage.makes == wanted]
        if reference in fit or "/" in reference:
            return
        allowed = ", ".join(fit) or "no stage before it"
        raise ValueError(f"{field} = {reference!r}: allowed: {allowed}, or a path or Hub id with a '/'")

    def allows(self, field: str) -> bool:
        """Whether it sets one of ``PERMISSIONS``."""
        return self.trust_remote_code if field == TRUST_REMOTE_CODE else self.verification.code.unsafe_local

    def to_yaml(self) -> str:
        """The recipe with every default filled in; ``load_recipe`` reads it back to an equal recipe."""
        data = self.model_dump(mode="json", by_alias=True)  # with null: it may switch a default off
        return yaml.safe_dump(data, sort_keys=False, allow_unicode=True)


def _check_data(field: str, reference: str, stage: Stage, earlier: Mapping[str, Stage]) -> None:
    """A data set's name must be that of an earlier stage that makes such data."""
    maker = earlier.get(reference)
    fit = [name for name, one in earlier.items() if one.makes == stage.learns_from]
    made = list(registered("problems")) if stage.learns_from == "demonstrations" else []  # some write them as well
    if reference in fit or (maker is None and (reference in made or "/" in reference or "." in reference)):
        return
    allowed = ", ".join([*fit, *made]) or "no stage before it"
    raise ValueError(f"{field} = {reference!r}: allowed: {allowed}, a file or a data set (owner/name)")
