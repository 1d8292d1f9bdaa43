"""The demonstrations that a stage learns from: of an earlier stage, the miniature world, a file or the Hub.

Left out: what a row's columns mean (``demonstration_columns.py``), and templates: a demonstration has none.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from random import Random
from typing import Any

from thinkery.mini import mini_task
from thinkery.mini.general_task import GeneralTask
from thinkery.problems.demonstration_columns import demonstrations_of
from thinkery.problems.source import Split, open_rows
from thinkery.recipe import DataSpec
from thinkery.types import Demonstration, UserError

Resolve = Callable[[str], str]

FILE_NAME = "data.jsonl"  # in the folder of a stage that makes demonstrations
# A stage adds fields that say why it kept a row; whatever they are called, these are the demonstration's.
OWN_COLUMNS = {"prompt": "prompt", "thinking": "thinking", "answer": "answer", "system": None, "input": None}


def read_demonstrations(specs: Sequence[DataSpec], resolve: Resolve) -> list[Demonstration]:
    """All demonstrations of a stage's sources, in the order of the sources; a share is of the whole set, by number.

    ``resolve`` maps an earlier stage's name to the folder of its data. Raises ``UserError`` for what can't be read and
    for a source that is too small for its share.
    """
    shared = sum(spec.share or 0.0 for spec in specs)
    whole = {i: open_demonstrations(spec, resolve) for i, spec in enumerate(specs) if not spec.share}
    total = sum(map(len, whole.values())) / (1 - shared)
    read: list[Demonstration] = []
    for i, spec in enumerate(specs):
        if spec.share is None:
            read += whole[i]
        else:
            count = max(1, round(spec.share * total))
            read += open_demonstrations(spec.model_copy(update={"n": count, "share": None}), resolve)
    return read


def open_demonstrations(spec: DataSpec, resolve: Resolve) -> list[Demonstration]:
    """The demonstrations of one source; ``n`` of them are drawn by the spec's seed and kept in their order."""
    if spec.source == "mini":
        assert spec.n is not None  # the recipe refuses mini without a number
        return [mini_demonstration(index, spec) for index in range(spec.n)]
    is_stage = "/" not in spec.source and "." not in spec.source
    place = str(Path(resolve(spec.source)) / FILE_NAME) if is_stage else spec.source
    if is_stage and Path(place).exists() and not Path(place).stat().st_size:
        raise UserError(f"the stage {spec.source} kept no demonstration: see its table.json for why")
    name, rows = open_rows(place, spec.split)
    demonstrations = list(demonstrations_of(rows, name, OWN_COLUMNS if is_stage else spec.columns))
    if spec.n is None:
        return demonstrations
    if spec.n > len(demonstrations):
        raise UserError(
            f"{spec.source}: {spec.n:,} demonstrations are asked for, by n or by its share of the whole, and it has "
            f"{len(demonstrations):,}; ask for fewer"
        )
    chosen = sorted(Random(f"demonstrations/{spec.seed}").sample(range(len(demonstrations)), spec.n))
    return [demonstrations[index] for index in chosen]


def mini_demonstration(index: int, spec: DataSpec) -> Demonstration:
    """What a writer of the miniature world answers to its general question ``index``: a competent one, or anybody."""
    split: Split = "test" if spec.split == "test" else "train"
    languages = spec.languages or None
    task, language = mini_task(index, split, domains={"general": 1.0}, languages=languages, seed=spec.seed)
    assert isinstance(task, GeneralTask)
    rng = Random(f"demonstration/{spec.seed}/{split}/{index}")
    careful = rng.random() < spec.careful
    written = task.demonstration(rng, language) if careful else task.write(rng, "plain", language, (language,))
    return Demonstration(
        id=f"mini-general-{split}-{spec.seed}-{index}",
        prompt=task.question(language),
        thinking=written.thinking,
        answer=written.answer,
        domain=task.domain,
        language=language,
        level=task.level,
    )


def demonstration_row(demonstration: Demonstration) -> dict[str, Any]:
    """A demonstration as a JSON object; ``demonstrations_of`` reads it back."""
    row = asdict(demonstration)
    if not isinstance(demonstration.prompt, str):
        row["prompt"] = [dict(message) for message in demonstration.prompt]
    return row
