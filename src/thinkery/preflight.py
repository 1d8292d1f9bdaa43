"""Looks at what a recipe names before anything starts, and takes the fingerprints of its files.

Refuses templates, rewards, verifiers' sources, data and judges that lead nowhere, so that no stage finds out hours
later. Left out: what only the whole content shows, which every stage checks before its own first step.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from thinkery.files import sha256_of
from thinkery.recipe import (
    BASE,
    CollectStage,
    JudgeSpec,
    JudgeStage,
    PretrainStage,
    ProblemSpec,
    Recipe,
    RewardModelStage,
    RewardSpec,
    RLStage,
    SFTStage,
    Stage,
    VLLMSpec,
    data_references,
    model_references,
)
from thinkery.types import UserError

Files = Mapping[str, str]  # name -> hash, or what stands for it


def check(recipe: Recipe) -> None:
    """Refuses names that lead nowhere. Raises ``UserError`` with the field. Loads no model."""
    for field, spec in problem_specs(recipe):
        if any(one.source != "mini" for one in spec.all):
            from thinkery.problems.source import require_source

            require_source(field, spec)
    for field, source in _data_sources(recipe):
        from thinkery.problems.source import require_file

        require_file(field, source)
    for field, rewards, length in _rewards(recipe):
        from thinkery.rewards.registry import check_rewards

        check_rewards(field, rewards, length)
    for field, judge in _judges(recipe):
        if judge.api_key_env is not None and not os.environ.get(judge.api_key_env):
            raise UserError(f"{field}.api_key_env = {judge.api_key_env!r}: this environment variable is not set")
    for field, engine in _engines(recipe):
        from thinkery.rollout.vllm.engine import require_vllm

        if engine.server_base_url is None and engine.server_python is None:
            with _in_field(field):
                require_vllm()
    _check_templates(recipe)


def require_inputs(recipe: Recipe, done: Collection[str]) -> None:
    """Refuses models that can't be what a stage takes them for, and files with a row that can't be read.

    ``done`` are stages that need nothing any more. Raises ``UserError`` with the field, or with file and line. Loads no
    weights; of what is on the Hub only the configurations of models are fetched.
    """
    left = [stage for stage in recipe.stages if stage.name not in done]
    for field, reference, template in dict.fromkeys(_policies(recipe, left)):
        _require_policy(field, reference, template)
    for stage in left:
        for field, reference in model_references(stage):
            if field.startswith("rewards.") and reference not in _names(recipe):
                _require_reward_model(f"{stage.name}.{field}", reference, _root(recipe, stage))
    for field, spec in problem_specs(recipe):
        if field.partition(".")[0] not in done:
            _read_problems(field, spec)
    for stage in left:
        if isinstance(stage, SFTStage | RewardModelStage):
            _read_data(stage, _names(recipe))


def _engines(recipe: Recipe) -> Iterator[tuple[str, VLLMSpec]]:
    """Every use of vLLM, with its field."""
    for stage in recipe.stages:
        if isinstance(stage, RLStage | CollectStage | JudgeStage) and stage.vllm is not None:
            yield f"{stage.name}.vllm", stage.vllm
    for name, spec in recipe.evaluate.items():
        if spec.vllm is not None:
            yield f"evaluate.{name}.vllm", spec.vllm


def _names(recipe: Recipe) -> set[str]:
    return {stage.name for stage in recipe.stages}


def _policies(recipe: Recipe, left: Iterable[Stage]) -> Iterator[tuple[str, str, str | None]]:
    """Every model to sample from or to train that no stage makes: its field, its place, and the template named."""
    uses = [
        (f"{stage.name}.{field}", reference, getattr(stage, "template", None) if field == "from" else None)
        for stage in left
        for field, reference in model_references(stage)
        if field in ("from", "others") and reference not in _names(recipe)
    ]
    uses += [
        (f"evaluate.{name}", BASE, spec.template)
        for name, spec in recipe.evaluate.items()
        if recipe.base is not None and (not spec.models or BASE in spec.models)
    ]
    for field, reference, template in uses:
        if reference == BASE:
            assert recipe.base is not None  # the recipe refuses a stage from a base that it lacks
            yield "base", recipe.base, template or recipe.template
        else:
            yield field, reference, template


def _root(recipe: Recipe, stage: Stage) -> str | None:
    """The model whose tokenizer a stage's policy has; None if a stage makes it."""
    made = {one.name: one for one in recipe.stages}
    reference = stage.name
    while reference in made:
        maker = made[reference]
        if isinstance(maker, PretrainStage):
            return None
        reference = maker.from_
    return recipe.base if reference == BASE else reference


def _require_policy(field: str, reference: str, template: str | None) -> None:
    from thinkery.models.checking import require_policy
    from thinkery.models.template import TEMPLATES

    with _in_field(field):
        require_policy(reference, TEMPLATES[template] if template else None)


def _require_reward_model(field: str, reference: str, policy: str | None) -> None:
    from thinkery.models.checking import load_tokenizer
    from thinkery.models.reward_model import read_card, require_same_tokenizer

    with _in_field(field):
        if policy is None:
            read_card(reference)
        else:
            require_same_tokenizer(reference, load_tokenizer(policy))


@contextmanager
def _in_field(field: str) -> Iterator[None]:
    """Says of a mistake in which field it is."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{field}: {error}") from None


def _read_problems(field: str, spec: ProblemSpec) -> None:
    """Reads the files of a set of problems to their end."""
    from thinkery.problems.source import open_source

    for one in spec.all:
        if Path(one.source).is_file():
            with _in_field(field):
                open_source(one.model_copy(update={"also": [], "decontaminate": []}))


def _read_data(stage: SFTStage | RewardModelStage, made: Collection[str]) -> None:
    """Reads the files that a stage learns from to their end."""
    from thinkery.problems.demonstrations import open_demonstrations
    from thinkery.problems.preferences import read_labels, read_pairs

    for i, spec in enumerate(stage.data):
        if spec.source in made or not Path(spec.source).is_file():
            continue
        whole = spec.model_copy(update={"n": None, "share": None})
        with _in_field(f"{stage.name}.data[{i}]"):
            if isinstance(stage, SFTStage):
                open_demonstrations(whole, str)
            else:
                (read_pairs if stage.objective == "pairwise" else read_labels)([whole], str)


def files_of(recipe: Recipe) -> Iterator[tuple[str, Files]]:
    """What every field that names files stands for: the files' hashes, data and rewards of the user's alike."""
    from thinkery.problems.source import source_fingerprint
    from thinkery.rewards.custom import reward_files

    for field, spec in problem_specs(recipe):
        yield field, source_fingerprint(spec)
    for field, source in _data_sources(recipe):
        yield field, {source: sha256_of(Path(source)) if Path(source).exists() else source}
    for field, rewards, _ in _rewards(recipe):
        yield field, {path.name: sha256_of(path) for path in reward_files(rewards)}


def problem_specs(recipe: Recipe) -> Iterator[tuple[str, ProblemSpec]]:
    """Every set of problems with the field that names it."""
    for stage in recipe.stages:
        if isinstance(stage, RLStage | CollectStage | JudgeStage):
            yield f"{stage.name}.problems", stage.problems
        if isinstance(stage, RLStage) and stage.probe is not None:
            yield f"{stage.name}.probe.problems", stage.probe.problems
    for name, spec in recipe.evaluate.items():
        yield f"evaluate.{name}.problems", spec.problems


def _data_sources(recipe: Recipe) -> Iterator[tuple[str, str]]:
    """Every file or data set to learn from or to keep out, with the field that names it; no stage's output."""
    made = {stage.name for stage in recipe.stages} | {"mini"}
    for stage in recipe.stages:
        for field, source in _sources_of(stage):
            if source not in made:
                yield f"{stage.name}.{field}", source


def _sources_of(stage: Stage) -> Iterator[tuple[str, str]]:
    yield from data_references(stage)
    if isinstance(stage, CollectStage):
        for i, source in enumerate(stage.decontaminate):
            yield f"decontaminate[{i}]", source


def _rewards(recipe: Recipe) -> Iterator[tuple[str, Mapping[str, RewardSpec], int]]:
    """Every set of rewards, with its field and the longest completion it may see."""
    for stage in recipe.stages:
        if isinstance(stage, RLStage):
            yield f"{stage.name}.rewards", stage.rewards, stage.max_completion_length
        if isinstance(stage, CollectStage) and stage.best_by is not None:
            yield f"{stage.name}.best_by", {stage.best_by: RewardSpec()}, stage.max_completion_length


def _judges(recipe: Recipe) -> Iterator[tuple[str, JudgeSpec]]:
    for stage in recipe.stages:
        if isinstance(stage, CollectStage | JudgeStage) and stage.judge is not None:
            yield f"{stage.name}.judge", stage.judge
        if isinstance(stage, CollectStage) and stage.refine is not None and stage.refine.endpoint is not None:
            yield f"{stage.name}.refine.endpoint", stage.refine.endpoint
    for name, spec in recipe.evaluate.items():
        if spec.judge is not None:
            yield f"evaluate.{name}.judge", spec.judge


def _check_templates(recipe: Recipe) -> None:
    named = {"template": recipe.template}
    named |= {f"evaluate.{name}.template": spec.template for name, spec in recipe.evaluate.items()}
    named |= {f"{stage.name}.template": getattr(stage, "template", None) for stage in recipe.stages}
    if any(named.values()):
        from thinkery.models.template import TEMPLATES

        for field, template in named.items():
            if template is not None and template not in TEMPLATES:
                raise UserError(f"{field} = {template!r}: allowed: {', '.join(TEMPLATES)}")
