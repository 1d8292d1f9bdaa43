"""A field that a stage or its learner alone has, or that is mistyped on one side, can't pass unseen."""

from __future__ import annotations

from dataclasses import dataclass, make_dataclass
from typing import Any, Literal

import pytest

from thinkery.recipe.stage import StageBase
from thinkery.stages.learner_fields import LearnerFields


class Stage(StageBase):
    kind: Literal["made-up"]
    epochs: int = 2
    data: str = ""


@dataclass(frozen=True, kw_only=True)
class Config:
    epochs: int = 1
    seed: int = 0


def matched(config: Any = Config, stage: Any = Stage, given: Any = ("seed",), others: Any = ("data",)) -> Any:
    return LearnerFields(config, stage, given=given, others=others)


def with_field(name: str) -> type[StageBase]:
    return type("Wider", (Stage,), {"__annotations__": {name: int}, name: 1, "__module__": __name__})


def test_what_both_have_is_taken_from_the_stage_and_the_rest_is_given() -> None:
    assert matched().of(Stage(name="s", kind="made-up", epochs=7), seed=3) == Config(epochs=7, seed=3)
    with pytest.raises(TypeError, match=r"must be given \['seed'\], not \[\]"):
        matched().of(Stage(name="s", kind="made-up"))


@pytest.mark.parametrize(
    ("sides", "said"),
    [
        ({"stage": with_field("weight_decay")}, "Wider.weight_decay is no field of Config"),
        (
            {"config": make_dataclass("Wider", [(name, int, 0) for name in ("epochs", "seed", "decay")])},
            "no field of Stage sets Wider.decay",
        ),
        ({"config": make_dataclass("Config", [("epoch", int, 0), ("seed", int, 0)])}, "Stage.epochs is no field of"),
        ({"given": ("seed", "steps")}, "Config has no field 'steps'"),
        ({"others": ("data", "dtpye")}, "Stage has no field 'dtpye'"),
    ],
)
def test_a_field_on_one_side_alone_is_an_error(sides: dict[str, Any], said: str) -> None:
    with pytest.raises(TypeError, match=said):
        matched(**sides)
