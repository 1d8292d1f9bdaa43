"""The field reference: a page made from the types, which leaves no field out and keeps up with them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

import pytest
from pydantic import BaseModel

from thinkery.recipe import KINDS, Recipe, RewardSpec, StageBase
from thinkery.recipe.base import Strict
from thinkery.recipe.reference import models_in, page, sentences

PAGE = Path(__file__).parents[2] / "docs" / "recipe.md"
ROWS = [line.split(" | ") for line in page().splitlines() if line.startswith("| `")]


def every_model() -> set[type[BaseModel]]:
    found: set[type[BaseModel]] = {Recipe, *KINDS.values()}
    left = list(found)
    while left:
        fields = left.pop().model_fields.values()
        new = {one for field in fields for one in models_in(field.annotation) if one.__module__.startswith("thinkery.")}
        left += new - found
        found |= new
    return found


def test_the_page_is_what_the_types_say() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run python -m thinkery.recipe.reference > docs/recipe.md"


@pytest.mark.parametrize("model", sorted(every_model(), key=lambda model: model.__name__))
def test_every_field_has_one_sentence(model: type[BaseModel]) -> None:
    assert sentences(model).keys() >= model.model_fields.keys()
    for name in model.model_fields:
        sentence = sentences(model)[name]
        assert re.fullmatch(r"[A-Z`][^\n]*\.", sentence.text), (name, sentence)
        assert not re.search(r"\. [A-Z]", sentence.text), (name, sentence)


def test_every_field_is_a_row_with_its_type_and_default() -> None:
    assert len(ROWS) == sum(len(model.model_fields) for model in every_model())
    assert ["| `epsilon`", "a number > 0", "`0.2`"] in [row[:3] for row in ROWS]
    assert ["| `learning_rate`", "a number > 0", ""] in [row[:3] for row in ROWS]
    assert ["| `preset`", "grpo, dapo, dr_grpo, ppo", "`null`"] in [row[:3] for row in ROWS]
    assert ["| `others`", "a list of a text", "`[]`"] in [row[:3] for row in ROWS]
    assert ["| `readable`", "[`readable`](#readable)", "its defaults"] in [row[:3] for row in ROWS]


def test_what_the_paper_states_stands_beside_the_default() -> None:
    """The figures are those of DeepSeek-R1 (arXiv 2501.12948) and its supplement."""
    stated = {(row[0].strip("| `"), row[-1].removesuffix(" |")) for row in ROWS}
    assert {("learning_rate", "3e-6"), ("beta", "0.001"), ("epsilon", "10"), ("num_generations", "16")} <= stated
    assert {("max_grad_norm", ""), ("top_k", "")} <= stated  # the paper says nothing of these


def test_a_sentence_is_inherited_and_may_be_replaced() -> None:
    class MyStage(StageBase):
        kind: Literal["mine"]

    assert sentences(MyStage)["name"] == sentences(StageBase)["name"]
    assert sentences(KINDS["rl"])["kind"].text == "The kind of stage."
    assert sentences(Strict) == {}
    assert sentences(RewardSpec)["from_step"].paper == "preference in the last 400 of 1,700"


def test_every_link_leads_to_a_section() -> None:
    text = page()
    titles = re.findall(r"^## (.*)$", text, re.MULTILINE)
    anchors = {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
    assert set(re.findall(r"\(#([^)]*)\)", text)) <= anchors
