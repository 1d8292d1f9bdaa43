"""A recipe, stage by stage, on a machine: seconds, hours, memory, money, and everything that was assumed on the way.

Left out: stages that wait for a judge elsewhere (what is sampled for it is counted), loading, checkpoints, probes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from thinkery.models.flops import Lengths
from thinkery.plan.assumptions import Assumptions, Growth
from thinkery.plan.cost_models import CostModel, GpuCluster
from thinkery.plan.decoders import DecoderCosts, decoder_from_config, decoder_named
from thinkery.plan.lengths import SPREAD, LengthSpread
from thinkery.plan.memory import memory_of
from thinkery.plan.steps import StageTime, learning_time, rl_batch, rl_step, sampling_time
from thinkery.recipe import (
    BASE,
    MODEL_REWARDS,
    CollectStage,
    DataSpec,
    EvalSpec,
    JudgeStage,
    PretrainStage,
    ProblemSpec,
    Recipe,
    RewardModelStage,
    RLStage,
    SFTStage,
    Stage,
)
from thinkery.types import UserError

_GROWING = 8  # looks at a stage in which a length grows
_LENGTH_SHARE, _PROMPT, _PROBLEMS, _DEMONSTRATIONS, _HELD_OUT = 0.2, 150, 100_000, 100_000, 500


@dataclass(frozen=True)
class _Row:
    """A stage in the plan."""

    stage: str
    kind: str
    model: str
    time: StageTime
    memory: dict[str, Any] | None = None


def plan_recipe(
    recipe: Recipe,
    cost_model: CostModel,
    *,
    assume: Sequence[str] = (),
    config: Path | None = None,
    usd_per_hour: float | None = None,
) -> dict[str, Any]:
    """The plan of a recipe, as plain figures.

    ``stages`` has for every stage, and for every evaluation, its ``steps``, ``step_seconds``, their ``parts``,
    ``hours``, and on a cluster ``gpu_hours``, ``usd`` and ``memory`` (bytes a GPU by part, what fits, and the
    ``longest`` sequence in tokens); ``total`` sums up. ``assumptions`` are (name, value, why), ``sources`` where the
    efficiencies are from. ``config`` is the base's config.json; ``usd_per_hour`` the price of a GPU, if not the
    table's. Raises ``UserError`` for models whose sizes can't be found, for assumptions that nothing asks for, and for
    a negative price.
    """
    planner = _Planner(recipe, cost_model, Assumptions.read(assume), config)
    rows = [planner.row(stage) for stage in recipe.stages]
    rows += [planner.evaluation(name, spec) for name, spec in recipe.evaluate.items()]
    planner.assumptions.check_all_used()
    cluster = cost_model.cluster if isinstance(cost_model, GpuCluster) else None
    if usd_per_hour is not None and not 0 <= usd_per_hour < math.inf:
        raise UserError(f"--price {usd_per_hour:g}: must be 0 or more")
    price = usd_per_hour if usd_per_hour is not None else (cluster.gpu.usd_per_hour if cluster else 0.0)
    machine = None
    if cluster is not None:
        machine = {"gpu": cluster.gpu.name, "gpus": cluster.count, "usd_per_hour": price}
        machine["assumed"] = usd_per_hour is None
    stages = [_figures(row, cluster.count if cluster else None, price) for row in rows]
    summed = ("hours", "gpu_hours", "usd") if cluster else ("hours",)
    return {
        "recipe": recipe.name,
        "machine": machine,
        "stages": stages,
        "total": {name: sum(stage[name] for stage in stages) for name in summed},
        "assumptions": planner.listed(),
        "sources": planner.sources(),
    }


class _Planner:
    """Knows every stage's model by what it starts from, and how many items each has made."""

    def __init__(self, recipe: Recipe, cost_model: CostModel, assumptions: Assumptions, config: Path | None) -> None:
        self.recipe, self.cost_model, self.assumptions, self.config = recipe, cost_model, assumptions, config
        self._models: dict[str, DecoderCosts] = {}
        self._made: dict[str, float] = {}  # stage -> demonstrations, pairs or labels
        self._lengths: dict[str, float] = {}  # stage -> tokens of one

    def row(self, stage: Stage) -> _Row:
        """One stage."""
        if stage.starts_from is not None:
            self._models[stage.name] = self.model(stage.starts_from)
        row: _Row = stage.cost(self)
        return row

    def evaluation(self, name: str, spec: EvalSpec) -> _Row:
        """All models that an evaluation measures."""
        policies = [stage.name for stage in self.recipe.stages if stage.makes == "policy"]
        names = spec.models or [*([BASE] if self.recipe.base else []), *policies]
        problems = self._problems(f"evaluate.{name}", [spec.problems], _HELD_OUT, "a benchmark's usual size")
        spread, prompt = self._spread(f"evaluate.{name}", spec.max_completion_length)
        parts = 0.0
        for one in names:
            model = self.model(one)
            time = sampling_time(
                model,
                self.cost_model,
                problems=problems,
                group=spec.num_samples,
                at_once=round(problems),
                spread=spread,
                prompt=prompt,
                slots=self._slots(model, spread, spec.max_slots),
            )
            parts += time.seconds
        return _Row(f"evaluate.{name}", "evaluate", f"{len(names)} models", StageTime(1, {"rollout": parts}))

    def model(self, reference: str) -> DecoderCosts:
        """The sizes behind a stage's name, base, a folder or a Hub id."""
        if reference not in self._models:
            is_base = reference == BASE and self.recipe.base is not None
            place = self.recipe.base if is_base and self.recipe.base is not None else reference
            self._models[reference] = decoder_named(place, self.config if is_base else None)
        return self._models[reference]

    def listed(self) -> list[tuple[str, str, str]]:
        """What was assumed: name, value, why."""
        values = [
            (f"{stage}.{name}", _told(growth), why) for (stage, name), (growth, why) in self.assumptions.used.items()
        ]
        spread = ("spread of lengths", f"{SPREAD:g}", "standard deviation of log(length), as in the miniature")
        return [*values, spread]

    def sources(self) -> list[str]:
        """Where the efficiencies are from."""
        if not isinstance(self.cost_model, GpuCluster):
            return ["the profile"]
        found = [self.cost_model.efficiency_of(model) for model in self._models.values()]
        return list(dict.fromkeys(source for one in found for source in one.sources))

    def reinforcement(self, stage: RLStage) -> _Row:
        """See ``recipe.CostEstimator``."""
        model = self._models[stage.name]
        growth, prompt = self._length(stage.name, stage.max_completion_length)
        teaches = self.assumptions.get(stage.name, "teaches", 1.0, "every group has right and wrong answers").mean
        lengths = [growth.mean] if growth.first == growth.last else _spaced(growth)
        slots = self._slots(model, LengthSpread(growth.mean, stage.max_completion_length), stage.max_slots)
        steps = [
            rl_step(
                stage,
                model,
                self.cost_model,
                rl_batch(stage, length, prompt),
                slots=slots,
                teaches=min(1.0, teaches),
                read_by_models=read_by_models(stage),
                teacher=self.model(stage.teacher) if stage.teacher else None,
            )
            for length in lengths
        ]
        mean = {part: fmean(step[part] for step in steps) for part in steps[0]}
        batch = rl_batch(stage, growth.last, prompt)
        longest = prompt + max(max(one.completions) for one in batch)
        memory = self._memory(model, batch, stage.microbatch_tokens, slots, longest, reference=stage.beta > 0)
        return _Row(stage.name, stage.kind, model.name, StageTime(stage.steps, mean), memory)

    def sampling(self, stage: CollectStage | JudgeStage, others: Sequence[str], kept: int) -> _Row:
        """See ``recipe.CostEstimator``."""
        model = self._models[stage.name]
        problems = self._problems(stage.name, stage.problems.all, _PROBLEMS, "unknown here")
        spread, prompt = self._spread(stage.name, stage.max_completion_length)
        models = [model, *(self.model(other) for other in others)]
        times = [
            sampling_time(
                one,
                self.cost_model,
                problems=problems,
                group=stage.num_generations,
                at_once=stage.batch_problems,
                spread=spread,
                prompt=prompt,
                slots=self._slots(one, spread, stage.max_slots),
            )
            for one in models
        ]
        self._made[stage.name], self._lengths[stage.name] = problems * kept, spread.mean
        total = StageTime(times[0].steps, {"rollout": sum(time.step_seconds for time in times)})
        return _Row(stage.name, stage.kind, model.name, total)

    def learning(self, stage: SFTStage | RewardModelStage, sequences: int) -> _Row:
        """See ``recipe.CostEstimator``."""
        model = self._models[stage.name]
        items, length = self._data(stage.name, stage.data, stage.max_length)
        prompt = round(self._prompt(stage.name, stage.max_length))
        time = learning_time(
            model,
            self.cost_model,
            items=sequences * items,
            length=length,
            prompt=prompt,
            batch_size=sequences * stage.batch_size,
            epochs=stage.epochs,
            micro=stage.microbatch_tokens,
        )
        memory = self._memory(model, [], stage.microbatch_tokens, 0, stage.max_length, reference=False)
        return _Row(stage.name, stage.kind, model.name, time, memory)

    def pretraining(self, stage: PretrainStage) -> _Row:
        """See ``recipe.CostEstimator``."""
        fields = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
        sizes = {name: getattr(stage, name) for name in (*fields, "num_key_value_heads", "head_dim")}
        model = decoder_from_config(
            {"model_type": stage.architecture, "tie_word_embeddings": True, **sizes}, stage.name
        )
        self._models[stage.name] = model
        time = learning_time(
            model,
            self.cost_model,
            items=stage.steps * stage.batch_size,
            length=stage.context_length,
            prompt=0,
            batch_size=stage.batch_size,
            epochs=1,
            micro=stage.batch_size * stage.context_length,
        )
        return _Row(stage.name, stage.kind, model.name, time)

    def _memory(
        self,
        model: DecoderCosts,
        batch: Sequence[Lengths],
        microbatch_tokens: int,
        slots: int,
        longest: int,
        *,
        reference: bool,
    ) -> dict[str, Any] | None:
        if not isinstance(self.cost_model, GpuCluster):
            return None
        estimate = memory_of(
            model, self.cost_model, batch, microbatch_tokens=microbatch_tokens, slots=slots, reference=reference
        )
        return asdict(estimate) | {"fits": estimate.fits, "longest": longest}

    def _slots(self, model: DecoderCosts, spread: LengthSpread, asked: int) -> int:
        """Rows at a time: the recipe's on one's own machine, on a cluster as many as a replica's memory holds."""
        if not isinstance(self.cost_model, GpuCluster):
            return asked
        batch = [Lengths(0, (max(1, round(spread.mean)),))]
        estimate = memory_of(model, self.cost_model, batch, microbatch_tokens=0, slots=1, reference=False)
        if not estimate.largest_slots:
            raise UserError(
                f"{model.name} does not fit into {self.cost_model.replica(model)} "
                f"{self.cost_model.cluster.gpu.name} with the "
                "cache of a single completion: take more GPUs, or shorter completions"
            )
        return estimate.largest_slots

    def _length(self, stage: str, limit: int) -> tuple[Growth, int]:
        default = max(1.0, _LENGTH_SHARE * limit)
        growth = self.assumptions.get(stage, "mean_length", default, "a fifth of the limit, as in the miniature")
        return growth, round(self._prompt(stage, limit))

    def _spread(self, stage: str, limit: int) -> tuple[LengthSpread, int]:
        growth, prompt = self._length(stage, limit)
        return LengthSpread(growth.mean, limit), prompt

    def _prompt(self, stage: str, limit: int) -> float:
        return self.assumptions.get(
            stage, "prompt_length", min(_PROMPT, max(1, limit // 10)), "tokens of a prompt"
        ).mean

    def _problems(self, stage: str, specs: Sequence[ProblemSpec], default: int, why: str) -> float:
        known = [spec.n for spec in specs if spec.n is not None]
        if len(known) == len(specs):
            return float(sum(known))
        return self.assumptions.get(stage, "items", default, f"problems, {why}").mean

    def _data(self, stage: str, specs: Sequence[DataSpec], limit: int) -> tuple[float, float]:
        """How many sequences, and the mean tokens of one."""
        made = [(self._made[spec.source], self._lengths[spec.source]) for spec in specs if spec.source in self._made]
        counts = [spec.n if spec.n is not None else None for spec in specs if spec.source not in self._made]
        unknown = any(spec.n is None and spec.share is None and spec.source not in self._made for spec in specs)
        base = sum(count for count, _ in made) + sum(count or 0 for count in counts)
        base += _DEMONSTRATIONS if unknown else 0
        base /= 1 - sum(spec.share or 0.0 for spec in specs)
        why = "what the stages before it make at most" if made and not unknown else "of unknown files 100,000"
        items = self.assumptions.get(stage, "items", base, f"sequences, {why}").mean
        weights = sum(count for count, _ in made)
        usual = sum(count * length for count, length in made) / weights if weights else _LENGTH_SHARE * limit
        reason = "as sampled by the stages before it" if made else "a fifth of the limit"
        return items, self.assumptions.get(stage, "mean_length", min(usual, limit), reason).mean


def read_by_models(stage: RLStage) -> float:
    """How often a completion is read by a reward model, on average over the stage.

    Helpful and safety rewards read the problems of their set: those that a source is marked as, and of the miniature's
    general domain half each. Sources that say nothing are taken as having none of either.
    """
    specs = stage.problems.all
    shares = sum(spec.share for spec in specs)
    total = 0.0
    for name, reward in stage.rewards.items():
        if name in MODEL_REWARDS:
            on = reward.options.get("on") if name == "model" else name
            read = sum(spec.share * _marked(spec, on) for spec in specs) / shares
            total += read * (stage.steps - reward.from_step) / stage.steps
    return total


def _marked(spec: ProblemSpec, on: str | None) -> float:
    """The share of a source's problems that belong to a set (None: any problem will do)."""
    if on is None or spec.preference == on:
        return 1.0
    if spec.preference is None and "general" in spec.domains:
        return 0.5 * spec.domains["general"] / sum(spec.domains.values())
    return 0.0


def _spaced(growth: Growth) -> list[float]:
    return [growth.at((index + 0.5) / _GROWING) for index in range(_GROWING)]


def _told(growth: Growth) -> str:
    return _plain(growth.first) if growth.first == growth.last else f"{_plain(growth.first)} to {_plain(growth.last)}"


def _plain(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def _figures(row: _Row, gpus: int | None, price: float) -> dict[str, Any]:
    hours = row.time.seconds / 3600
    figures: dict[str, Any] = {
        "stage": row.stage,
        "kind": row.kind,
        "model": row.model,
        "steps": row.time.steps,
        "step_seconds": row.time.step_seconds,
        "parts": row.time.parts,
        "hours": hours,
        "memory": row.memory,
    }
    return figures if gpus is None else figures | {"gpu_hours": hours * gpus, "usd": hours * gpus * price}
