"""Looks at what a recipe names before anything starts, and takes the fingerprints of its files.

Refuses templates, rewards, verifiers' sources, data and judges that lead nowhere, so that no stage finds out hours
later. Left out: what only the whole content shows, which every stage checks before its own first step.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from thinkery.files import sha256_of
from thinkery.plugins import registered, resolve
from thinkery.recipe import BASE, DataSpec, JudgeSpec, ProblemSpec, Recipe, RewardSpec, RolloutSpec, Stage
from thinkery.recipe.stage import DataKind
from thinkery.run.inputs import code_fingerprint
from thinkery.types import Problem, UserError
from thinkery.user_code import source_files

if TYPE_CHECKING:
    from thinkery.models.checking import Window

_LOOKED_AT = 1024  # problems of an endless source; a kind that is in none of them is in none at all

Files = Mapping[str, str]  # name -> hash, or what stands for it


def check(recipe: Recipe) -> None:
    """Refuses names that lead nowhere. Raises ``UserError`` with the field. Loads no model."""
    for field, spec in problem_specs(recipe):
        if any(one.source not in registered("problems") for one in spec.all):
            from thinkery.problems.source import require_source

            require_source(field, spec)
    for field, source in _data_sources(recipe):
        from thinkery.problems.source import require_file

        require_file(field, source)
    for field, rewards, length in _rewards(recipe):
        from thinkery.rewards.registry import check_rewards

        check_rewards(field, rewards, length)
    for stage in recipe.stages:
        for name, _ in stage.functions():
            if stage.function_checker is not None:
                with _in_field(f"{stage.name}.{name}"):
                    resolve(stage.function_checker)(stage, name)
    for field, judge in _judges(recipe):
        if judge.api_key_env is not None and not os.environ.get(judge.api_key_env):
            raise UserError(f"{field}.api_key_env = {judge.api_key_env!r}: this environment variable is not set")
    for field, rollout in _rollouts(recipe):
        if rollout.checker is not None:
            with _in_field(field):
                resolve(rollout.checker)(rollout)
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
        for field, reference in stage.reward_models():
            if reference not in _names(recipe):
                _require_reward_model(f"{stage.name}.{field}", reference, _root(recipe, stage))
    for use in _problem_uses(recipe):
        if use.field.partition(".")[0] not in done:
            _read_problems(recipe, use)
    for stage in left:
        _read_data(stage, _names(recipe))


def require_isolation(recipe: Recipe, pending: Collection[str]) -> None:
    """Refuses problems whose programs this machine can't run: what grading would find out, after hours or minutes.

    ``pending`` are the stages still to be done and the measures still to be taken, ``evaluate.<name>``. Raises
    ``UserError`` with the field, a problem that needs a program run, and why none is run here. Left out: data sets of
    the Hub, of which nothing is here yet, unless the recipe says that all their problems are code.
    """
    from thinkery.rewards.code import require_isolation as require

    graded = [(field, spec) for field, spec in problem_specs(recipe) if _owner(field) in pending]
    drawn = {f"{stage.name}.problems": stage.problems_drawn for stage in recipe.stages}
    unruled = {f"{stage.name}.problems" for stage in recipe.stages if not stage.uses_verdicts}
    specs = [(field, spec) for field, spec in graded if field not in unruled]
    if not any(_may_need_programs(one) for _, spec in specs for one in spec.all):
        return
    try:
        require(recipe.verification.code)
    except UserError as error:  # reading problems takes long, so only now
        for field, spec in specs:
            for one in spec.all:
                with _in_field(field):
                    named = _program_problem(one, drawn.get(field), spec)
                if named:
                    raise UserError(f"{field}: {named}: {error}") from None


def _owner(field: str) -> str:
    """The stage, or the measure, that a field belongs to."""
    first, second, *_ = field.split(".")
    return f"{first}.{second}" if first == "evaluate" else first


def _may_need_programs(spec: ProblemSpec) -> bool:
    return spec.verifier in (None, "code") and not spec.source.startswith("gym://")


def _program_problem(one: ProblemSpec, drawn: int | None, whole: ProblemSpec) -> str | None:
    """The first problem of a source of ``whole`` that needs a program run, in words; None if none does, or no telling.

    ``drawn`` is how many are drawn; None: they are fixed ones.
    """
    from thinkery.problems.source import EndlessSource, open_source

    if not _may_need_programs(one):
        return None
    made = one.source in registered("problems")
    if not made and not Path(one.source).exists():
        return f"the problems of {one.source}" if one.verifier == "code" else None
    source = open_source(one.model_copy(update={"also": [], "decontaminate": []}))
    fixed = one.n if drawn is None and not whole.also else None  # of a mixture no source's share is known here
    if fixed is None and isinstance(source, EndlessSource):
        problems = source.draw(0, min(drawn or _LOOKED_AT, _LOOKED_AT))
    else:
        problems = source.fixed(fixed)
    return next((f"problem {problem.id}" for problem in problems if problem.verifier == "code"), None)


def _rollouts(recipe: Recipe) -> Iterator[tuple[str, RolloutSpec]]:
    """Every rollout backend that is named, with its field."""
    for stage in recipe.stages:
        for field, rollout in stage.rollout_specs():
            yield f"{stage.name}.{field}", rollout
    for name, spec in recipe.evaluate.items():
        if spec.rollout is not None:
            yield f"evaluate.{name}.rollout", spec.rollout


def _names(recipe: Recipe) -> set[str]:
    return {stage.name for stage in recipe.stages}


def _policies(recipe: Recipe, left: Iterable[Stage]) -> Iterator[tuple[str, str, str | None]]:
    """Every model to sample from or to train that no stage makes: its field, its place, and the template named."""
    uses = [
        (f"{stage.name}.{field}", reference, getattr(stage, "template", None) if field == "from" else None)
        for stage in left
        for field, reference in stage.policies()
        if reference not in _names(recipe)
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
        start = made[reference].starts_from
        if start is None:
            return None
        reference = start
    return recipe.base if reference == BASE else reference


def _require_policy(field: str, reference: str, template: str | None) -> None:
    from thinkery.models.checking import require_policy
    from thinkery.models.template import TEMPLATES

    with _in_field(field):
        require_policy(reference, TEMPLATES[template] if template else None)


def _require_reward_model(field: str, reference: str, policy: str | None) -> None:
    from thinkery.models.checking import load_tokenizer
    from thinkery.models.loading import resolve_model
    from thinkery.models.pretrained import require_whole_files
    from thinkery.models.reward_model import read_card, require_same_tokenizer

    with _in_field(field):
        require_whole_files(resolve_model(reference))
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


@dataclass(frozen=True)
class _Use:
    """A set of problems, with who answers them: a model under a template, in so many tokens."""

    field: str
    spec: ProblemSpec
    model: str  # a stage, base, a folder or a Hub id
    template: str | None
    max_completion_length: int
    rollout: RolloutSpec | None
    graded: bool = True
    language: bool = False  # whether a reward reads the problems' language


def _problem_uses(recipe: Recipe) -> Iterator[_Use]:
    for stage in recipe.stages:
        template, length = getattr(stage, "template", None), getattr(stage, "max_completion_length", 0)
        rollout = next((one for _, one in stage.rollout_specs()), None)
        read = any("language" in rewards for _, rewards, _ in stage.reward_specs())
        for field, spec in stage.problem_specs():
            own = field == "problems"  # a probe's problems are not rewarded
            model = stage.starts_from or BASE
            yield _Use(
                f"{stage.name}.{field}", spec, model, template, length, rollout, stage.uses_verdicts, read and own
            )
    for name, measured in recipe.evaluate.items():
        field = f"evaluate.{name}.problems"
        model = measured.models[0] if measured.models and BASE not in measured.models else BASE
        length, rollout = measured.max_completion_length, measured.rollout
        yield _Use(field, measured.problems, model, measured.template, length, rollout)


def _read_problems(recipe: Recipe, use: _Use) -> None:
    """Reads the files of a set of problems to their end; asks of every row whether it can be answered and graded."""
    files = [one for one in use.spec.all if Path(one.source).is_file()]
    if not files:
        return
    from thinkery.problems.source import open_source
    from thinkery.rewards.fitness import why_unfit

    window = _window(recipe, use)

    def vet(problem: Problem) -> str | None:
        reason = why_unfit(problem, language=use.language) if use.graded else None
        if reason is None and window is not None:
            reason = window.why_too_long(problem.prompt, use.max_completion_length)
        return reason

    for one in files:
        with _in_field(use.field):
            open_source(one.model_copy(update={"also": [], "decontaminate": []}), vet)


def _window(recipe: Recipe, use: _Use) -> Window | None:
    """What the model that answers can read at once; None where a stage makes that model from nothing."""
    from thinkery.models.checking import window_of
    from thinkery.models.template import TEMPLATES

    made = {stage.name: stage for stage in recipe.stages}
    reference, template = use.model, use.template
    while reference in made:
        maker = made[reference]
        if maker.starts_from is None:
            return None
        template = template or getattr(maker, "template", None)
        reference = maker.starts_from
    if reference == BASE:
        if recipe.base is None:
            return None
        reference, template = recipe.base, template or recipe.template
    with _in_field(use.field):
        window = window_of(reference, TEMPLATES[template] if template else None)
    if use.rollout is not None and use.rollout.context is not None:
        return replace(window, context=use.rollout.context)
    return window


def _read_data(stage: Stage, made: Collection[str]) -> None:
    """Reads the files that a stage learns from to their end."""
    from thinkery.problems.demonstrations import open_demonstrations
    from thinkery.problems.preferences import read_labels, read_pairs

    readers: Mapping[DataKind, Callable[[DataSpec], object]] = {
        "demonstrations": lambda spec: open_demonstrations(spec, str),
        "pairs": lambda spec: read_pairs([spec], str),
        "labels": lambda spec: read_labels([spec], str),
    }
    for field, spec in stage.data_specs():
        if spec.source not in made and Path(spec.source).is_file() and stage.learns_from is not None:
            with _in_field(f"{stage.name}.{field}"):
                readers[stage.learns_from](spec.model_copy(update={"n": None, "share": None}))


def files_of(recipe: Recipe) -> Iterator[tuple[str, Files]]:
    """What every field that names files stands for: the files' hashes, data and code of the user's alike."""
    from thinkery.problems.source import source_fingerprint
    from thinkery.rewards.custom import reward_files

    for field, spec in problem_specs(recipe):
        yield field, source_fingerprint(spec)
    for field, source in _data_sources(recipe):
        yield field, {source: sha256_of(Path(source)) if Path(source).exists() else source}
    for field, rewards, _ in _rewards(recipe):
        yield field, {path.name: code_fingerprint(path) for path in reward_files(rewards)}
    for stage in recipe.stages:
        for name, function in stage.functions():
            yield f"{stage.name}.{name}", {path.name: code_fingerprint(path) for path in source_files([function])}


def problem_specs(recipe: Recipe) -> Iterator[tuple[str, ProblemSpec]]:
    """Every set of problems with the field that names it."""
    for stage in recipe.stages:
        for field, problems in stage.problem_specs():
            yield f"{stage.name}.{field}", problems
    for name, spec in recipe.evaluate.items():
        yield f"evaluate.{name}.problems", spec.problems


def _data_sources(recipe: Recipe) -> Iterator[tuple[str, str]]:
    """Every file or data set to learn from or to keep out, with the field that names it; no stage's output."""
    made = {stage.name for stage in recipe.stages} | set(registered("problems"))
    for stage in recipe.stages:
        sources = [(f"{field}.source", spec.source) for field, spec in stage.data_specs()]
        for field, source in [*sources, *stage.kept_out()]:
            if source not in made:
                yield f"{stage.name}.{field}", source


def _rewards(recipe: Recipe) -> Iterator[tuple[str, Mapping[str, RewardSpec], int]]:
    """Every set of rewards, with its field and the longest completion it may see."""
    for stage in recipe.stages:
        for field, rewards, longest in stage.reward_specs():
            yield f"{stage.name}.{field}", rewards, longest


def _judges(recipe: Recipe) -> Iterator[tuple[str, JudgeSpec]]:
    for stage in recipe.stages:
        for field, judge in stage.judge_specs():
            yield f"{stage.name}.{field}", judge
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
