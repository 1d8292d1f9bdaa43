"""Random parts of a step's samples."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from thinkery.training.backend import random_parts
from thinkery.training.learner import Sample

pytestmark = pytest.mark.slow

MakeSamples = Callable[..., list[Sample]]


def test_parts_hold_every_sample_once_and_whole_prompts(make_samples: MakeSamples) -> None:
    samples = make_samples(num_prompts=7, num_generations=3)
    parts = random_parts(samples, 3, seed=0, step=2, epoch=1)
    assert sorted(index for part in parts for index in part) == list(range(21))
    assert sorted(len(part) for part in parts) == [6, 6, 9]
    homes = {(samples[index].prompt_ids, p) for p, part in enumerate(parts) for index in part}
    assert len(homes) == 7
    assert all(part == sorted(part) for part in parts)


def test_the_draw_is_counted_from_seed_step_and_epoch(make_samples: MakeSamples) -> None:
    samples = make_samples(num_prompts=12, num_generations=1)
    draws = [
        random_parts(samples, 2, seed=s, step=t, epoch=e) for s, t, e in ((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1))
    ]
    assert len({str(draw) for draw in draws}) == 4
    assert random_parts(samples, 2, seed=0, step=0, epoch=0) == draws[0]


def test_fewer_prompts_than_parts_give_fewer_parts(make_samples: MakeSamples) -> None:
    assert len(random_parts(make_samples(num_prompts=2), 5, seed=0, step=0, epoch=0)) == 2
