"""What the run asks of every kind of stage: a kind is one class, its fields and its answers.

A package registers a kind of its own, a subclass of ``StageBase``, in the entry points ``thinkery.stages``. Left out:
the kinds themselves (``rl.py``, ``stages.py``), and what a stage does (its ``runner``).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Literal, Protocol, Self, get_args

from thinkery.recipe.base import Name, Strict
from thinkery.recipe.data import DataSpec, JudgeSpec, ProblemSpec, RewardSpec
from thinkery.recipe.rollout import RolloutSpec
from thinkery.types import Dtype

DataKind = Literal["demonstrations", "pairs", "labels"]
Product = Literal["policy", "reward model"] | DataKind


class CostEstimator(Protocol):
    """What a stage can cost, for the planner; each gives the planner's row of the stage."""

    def reinforcement(self, stage: Any) -> Any:
        """Sampling, grading and updates in ``stage.steps`` steps; takes the fields of ``RLStage``."""
        ...

    def sampling(self, stage: Any, others: Sequence[str], kept: int) -> Any:
        """Sampling of all problems by a model and ``others``, of which ``kept`` items a problem remain."""
        ...

    def learning(self, stage: Any, sequences: int) -> Any:
        """Updates on data, each item being so many sequences; takes the fields of ``SFTStage``."""
        ...

    def pretraining(self, stage: Any) -> Any:
        """Updates of a new model; takes the fields of ``PretrainStage``."""
        ...


class StageBase(Strict):
    """A kind of stage: ``kind`` is a literal in the subclass, ``runner`` the function that does it.

    ``runner`` is ``package.module:function``, called as ``f(stage, context) -> summary`` when the stage's turn comes.
    Fields that a method yields are named as the recipe names them, without the stage.
    """

    name: Name
    """The stage's name, by which later stages and `--set` refer to it."""
    kind: str
    """The kind of stage."""
    dtype: Dtype = "bfloat16"
    """In which its matrix products are computed."""
    device: str = "auto"
    """Where its model is: `auto` is the first GPU, else the CPU."""

    runner: ClassVar[str]
    function_checker: ClassVar[str | None] = None  # called as f(stage, field) for each of ``functions``
    on_cluster: ClassVar[bool] = True  # whether a cluster's workers can do its work
    uses_verdicts: ClassVar[bool] = False  # whether ``verification`` changes its result

    @property
    def makes(self) -> Product:
        """What its result is: a policy is evaluated and can be started from, data can be learnt from."""
        raise NotImplementedError

    @property
    def output(self) -> str:
        """The folder of its result among its checkpoints: ``model`` or ``data``."""
        return "data" if self.makes in get_args(DataKind) else "model"

    @property
    def learns_from(self) -> DataKind | None:
        """The kind of data that it reads, if any."""
        return None

    @property
    def starts_from(self) -> str | None:
        """The model whose tokenizer its result has; None if it makes one."""
        found: str | None = getattr(self, "from_", None)
        return found

    @property
    def known_steps(self) -> int | None:
        """How many steps it takes; None where only its data say."""
        return None

    @property
    def problems_drawn(self) -> int | None:
        """How many problems it draws from ``problems``; None where it takes fixed ones."""
        return None

    @property
    def is_off_policy_safe(self) -> bool:
        """Whether it may learn from what older weights sampled."""
        return True

    def policies(self) -> Iterator[tuple[str, str]]:
        """Every policy that it starts from or asks, with the field that names it."""
        if self.starts_from is not None:
            yield "from", self.starts_from

    def reward_models(self) -> Iterator[tuple[str, str]]:
        """Every reward model that it asks, with the field that names it."""
        yield from ()

    def data_specs(self) -> Iterator[tuple[str, DataSpec]]:
        """Every set of demonstrations, pairs or labels that it learns from."""
        yield from ()

    def kept_out(self) -> Iterator[tuple[str, str]]:
        """Sources that must not be in what it makes."""
        yield from ()

    def problem_specs(self) -> Iterator[tuple[str, ProblemSpec]]:
        """Every set of problems that it samples."""
        yield from ()

    def reward_specs(self) -> Iterator[tuple[str, Mapping[str, RewardSpec], int]]:
        """Every set of rewards, with the longest completion (tokens) that it may see."""
        yield from ()

    def judge_specs(self) -> Iterator[tuple[str, JudgeSpec]]:
        """Every judge that it asks."""
        yield from ()

    def functions(self) -> Iterator[tuple[str, str]]:
        """Every function of the user's own that it calls beside rewards, by the field that names it."""
        yield from ()

    def rollout_specs(self) -> Iterator[tuple[str, RolloutSpec]]:
        """Every rollout backend that it names."""
        rollout: RolloutSpec | None = getattr(self, "rollout", None)
        if rollout is not None:
            yield "rollout", rollout

    def shortened(self, steps: int) -> Self | None:
        """The stage with so many steps, each as dear as its last ones, to be profiled; None if it can't be."""
        return None

    def with_few_problems(self) -> Self | None:
        """The stage with few problems a step: what a decoding step takes that doesn't go with its rows."""
        return None

    def without_data_of(self, stages: Collection[str]) -> Self:
        """The stage as if it learnt from files and data sets alone, not from what these stages make."""
        return self

    def cost(self, estimator: CostEstimator) -> Any:
        """The planner's row of this stage."""
        raise NotImplementedError
