"""The yardsticks of the speed benchmarks: memory against known tensors, lengths, unshared prompts, slopes."""

from __future__ import annotations

import importlib
from typing import Any
from xml.etree import ElementTree

import pytest
import torch
from torch import nn

from thinkery.models.flops import policy_shape
from thinkery.rollout import NativeRollout
from thinkery.training.packing import pack, split_microbatches
from thinkery.types import Sampling

pytestmark = pytest.mark.slow

KIB = 1024


@pytest.fixture(scope="module")
def shapes() -> Any:
    return importlib.import_module("speed_shapes")


def test_an_update_costs_less_where_prompts_are_shared(shapes: Any) -> None:
    update = importlib.import_module("speed_update")
    shape = shapes.SHAPES["tiny"]
    policy, samples = shape.policy(), shapes.make_samples(shape, 2, 3, prompt=5, completions=(2, 4, 1))
    assert shapes.update_cost(policy, samples).tokens == 2 * 5 + 2 * (2 + 4 + 1)
    assert shapes.update_cost(policy, update.with_own_prompts(samples)).tokens == 6 * 5 + 2 * (2 + 4 + 1)
    assert policy_shape(policy).matrices == shape.matrix_parameters


def test_no_completion_ends_before_its_length(shapes: Any) -> None:
    shape = shapes.SHAPES["tiny"]
    problems = shapes.make_problems(shape.vocab, 2, 7)
    sampling = Sampling(num_generations=3, max_completion_length=40)
    completions = list(NativeRollout(shape.policy()).generate(problems, sampling, seed=0, step=0, stage=""))
    assert [len(completion.token_ids) for completion in completions] == [40] * 6
    assert {len(completion.prompt_ids) for completion in completions} == {7}


def test_own_prompts_are_not_shared_and_change_no_gradient(shapes: Any) -> None:
    update = importlib.import_module("speed_update")
    samples = shapes.make_samples(shapes.SHAPES["tiny"], 2, 3, prompt=6, completions=(3, 5))
    alone = update.with_own_prompts(samples)
    assert [sample.prompt_ids for sample in alone] != [sample.prompt_ids for sample in samples]
    [indices] = split_microbatches(alone, range(6), 10_000)
    assert len(pack(alone, indices, torch.device("cpu")).input_ids_T) == sum(6 + len(s.token_ids) for s in samples)
    policy = shapes.SHAPES["tiny"].policy(dtype="float32")
    together, apart = (update.gradients(policy, chosen) for chosen in (samples, alone))
    assert together.keys() == dict(policy.model.named_parameters()).keys()
    for name, gradient in apart.items():
        assert (together[name] - gradient).norm() <= 1e-5 * gradient.norm()


def test_the_peak_is_what_is_held_at_one_time() -> None:
    memory = importlib.import_module("speed_memory")

    def work() -> None:
        kept = torch.empty(100 * KIB, dtype=torch.uint8)
        del kept
        both = [torch.empty(30 * KIB, dtype=torch.uint8) for _ in range(2)]
        both.clear()

    assert memory.peak(work).whole == 100 * KIB


def test_the_peak_leaves_out_the_gradients_that_stay_and_what_the_optimizer_takes() -> None:
    memory = importlib.import_module("speed_memory")
    model = nn.Linear(256, 256, bias=False)  # 256 KiB
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    rows = torch.ones(1, 256)

    def work() -> None:
        model(rows).sum().backward()
        kept = torch.empty(300 * KIB, dtype=torch.uint8)
        optimizer.register_step_post_hook(lambda *_: torch.empty(500 * KIB, dtype=torch.uint8))
        optimizer.step()
        del kept

    peak = memory.peak(work, model)
    assert 300 * KIB <= peak.activations < 310 * KIB
    assert 800 * KIB <= peak.whole < 810 * KIB


def test_the_exponent_of_a_power_law_is_found() -> None:
    scaling = importlib.import_module("speed_scaling")
    assert scaling.slope([1, 2, 4, 9], [3 * x**0.7 for x in (1, 2, 4, 9)]) == pytest.approx(0.7)


def test_a_chart_is_well_formed_and_shows_every_point() -> None:
    chart = importlib.import_module("scaling_chart")
    curves = [chart.Curve("a & b", [1000, 4000, 150_000], [0.1, 0.4, 9.0], 0.9), chart.Curve("c", [1e3], [2.0], 0.0)]
    page = ElementTree.fromstring(chart.draw([chart.Panel("x < y", "seconds", curves)] * 3, columns=2))
    panels = page.findall("{http://www.w3.org/2000/svg}g")
    assert [len(panel.findall("{http://www.w3.org/2000/svg}circle")) for panel in panels] == [4] * 3
    assert "a & b: exponent 0.90" in "".join(page.itertext())
