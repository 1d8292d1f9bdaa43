"""Learners on 2 and 4 ranks of FSDP2 over gloo: they learn what one process learns, and stop and go on like it.

How near: loss, gradient norm and all other metrics to 1e-5, each weight tensor to 1e-5 of its norm. Measured by the
way that weights have gone, fp32 can't be sharper: AdamW's first steps are of one size wherever a gradient is not zero,
also where it is nothing but rounding. In fp64 it is: there every single weight is compared.
"""

from __future__ import annotations

import socket
import sys
import time
from multiprocessing import set_forkserver_preload
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import multiprocessing
from transformers import AutoModelForCausalLM

from thinkery.models.loading import load_policy
from thinkery.training.forward import token_logprobs

sys.path.insert(0, str(Path(__file__).parent))  # ranks import it by its name
import sharded_ranks as ranks_side
from sharded_ranks import CASES, STEPS, Case

pytestmark = pytest.mark.slow

FP32 = [name for name, case in CASES.items() if case.dtype == case.compute_dtype]
FP64 = [name for name, case in CASES.items() if case.dtype is torch.float64]
BF16 = [name for name, case in CASES.items() if case.compute_dtype is torch.bfloat16]
WORLDS = pytest.mark.parametrize("ranks", [2, 4])
Seen = dict[tuple[str, int], dict[str, Any]]


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sharded")


@pytest.fixture(scope="module")
def seen_by_ranks(folder: Path) -> list[Seen]:
    """What each of four ranks saw: all cases in a world of four, then in one of two."""
    case = CASES["reference, minibatches, iterations"]
    learner = ranks_side.make_learner(case, ranks_side.make_policy(case))
    ranks_side.learn(case, learner, range(2))
    learner.save(folder / "alone")
    # Forked from a process that has imported what takes long, and has done nothing else.
    set_forkserver_preload(["thinkery.cluster.sharded_backend", *ranks_side.MODELS])
    context = multiprocessing.start_processes(
        ranks_side.main, ({4: free_port(), 2: free_port()}, folder), nprocs=4, join=False, start_method="forkserver"
    )
    deadline = time.monotonic() + 300
    try:
        while not context.join(timeout=5):
            assert time.monotonic() < deadline, "the ranks have not finished after 300 s"
    finally:
        for process in context.processes:
            process.kill()
    return [torch.load(folder / f"rank-{rank}.pt", weights_only=False) for rank in range(4)]


@pytest.fixture(scope="module")
def alone() -> dict[str, dict[str, Any]]:
    """What one process makes of each case."""

    def learn(case: Case) -> dict[str, Any]:
        policy = ranks_side.make_policy(case)
        start = ranks_side.weights_of(policy)
        metrics = ranks_side.learn(case, ranks_side.make_learner(case, policy), range(STEPS))
        return {"metrics": metrics, "start": start, "weights": ranks_side.weights_of(policy)}

    return {name: learn(case) for name, case in CASES.items()}


def assert_same_metrics(found: list[dict[str, float]], expected: list[dict[str, float]], rel: float) -> None:
    for left, right in zip(found, expected, strict=True):
        assert left == pytest.approx(right, rel=rel, abs=1e-9)


@WORLDS
@pytest.mark.parametrize("name", FP32)
def test_ranks_learn_what_one_process_learns(
    seen_by_ranks: list[Seen], alone: dict[str, dict[str, Any]], name: str, ranks: int
) -> None:
    found, expected = seen_by_ranks[0][name, ranks], alone[name]
    assert_same_metrics(found["metrics"], expected["metrics"], 1e-5)
    for tensor, weight in expected["weights"].items():
        assert (found["weights"][tensor] - weight).norm() <= 1e-5 * weight.norm(), tensor


@WORLDS
@pytest.mark.parametrize("name", FP64)
def test_in_fp64_every_single_weight_is_one_process_s(
    seen_by_ranks: list[Seen], alone: dict[str, dict[str, Any]], name: str, ranks: int
) -> None:
    found, expected = seen_by_ranks[0][name, ranks], alone[name]
    assert_same_metrics(found["metrics"], expected["metrics"], 1e-9)
    for tensor, weight in expected["weights"].items():
        moved = (weight - expected["start"][tensor]).abs().max()
        assert (found["weights"][tensor] - weight).abs().max() <= 1e-8 * moved, tensor


@WORLDS
@pytest.mark.parametrize("name", BF16)
def test_in_bf16_ranks_and_one_process_are_as_near_as_its_rounding(
    seen_by_ranks: list[Seen], alone: dict[str, dict[str, Any]], name: str, ranks: int
) -> None:
    found, expected = seen_by_ranks[0][name, ranks], alone[name]
    for left, right in zip(found["metrics"], expected["metrics"], strict=True):
        assert left["entropy"] == pytest.approx(right["entropy"], rel=1e-3)
        assert left["grad_norm"] == pytest.approx(right["grad_norm"], rel=3e-2)


@WORLDS
@pytest.mark.parametrize("name", CASES)
def test_every_rank_returns_the_same(seen_by_ranks: list[Seen], name: str, ranks: int) -> None:
    first = seen_by_ranks[0][name, ranks]
    assert first["version"] == STEPS
    for of_rank in seen_by_ranks[1:ranks]:
        assert of_rank[name, ranks]["metrics"] == first["metrics"]
        assert of_rank[name, ranks]["version"] == STEPS
        assert of_rank[name, ranks]["weights"] == {}  # rank 0 alone gets them


@WORLDS
def test_a_head_on_all_ranks_gives_one_head_s_values_and_gradients(seen_by_ranks: list[Seen], ranks: int) -> None:
    inputs = [ranks_side.head_inputs(rank) for rank in range(ranks)]
    hidden_ND = torch.cat([hidden for hidden, _ in inputs]).requires_grad_()
    target_N = torch.cat([target for _, target in inputs])
    weight = ranks_side.head_weight().requires_grad_()
    logp_N, entropy_N = token_logprobs(hidden_ND, weight[: ranks_side.VOCAB], target_N, temperature=0.7)
    logp_N.square().sum().backward()
    found = [of_rank["head", ranks] for of_rank in seen_by_ranks[:ranks]]
    for name, expected in (("logp", logp_N), ("entropy", entropy_N), ("hidden_grad", hidden_ND.grad)):
        torch.testing.assert_close(torch.cat([of_rank[name] for of_rank in found]), expected)
    torch.testing.assert_close(found[0]["weight_grad"], weight.grad)


def test_the_weights_come_in_buckets_of_the_size_asked_for(seen_by_ranks: list[Seen]) -> None:
    buckets = seen_by_ranks[0]["checkpoint", 4]["buckets"]
    weights = seen_by_ranks[0]["checkpoint", 4]["weights"]
    assert [name for bucket in buckets for name, _, _ in bucket] == list(weights)
    assert all(dtype is torch.bfloat16 for bucket in buckets for _, dtype, _ in bucket)
    assert all(len(bucket) == 1 or sum(2 * size for _, _, size in bucket) <= 4000 for bucket in buckets)
    assert seen_by_ranks[3]["checkpoint", 4]["buckets"] == [[] for _ in buckets]


def test_a_checkpoint_is_seen_when_it_is_whole_and_holds_the_state_at_its_beginning(
    seen_by_ranks: list[Seen], folder: Path
) -> None:
    went_on = seen_by_ranks[0]["checkpoint", 4]
    assert not went_on["visible"]
    again = seen_by_ranks[0]["resume", 4]
    assert again["version"] == 2
    assert again["metrics"] == went_on["metrics"]
    assert all(torch.equal(weight, again["weights"][name]) for name, weight in went_on["weights"].items())
    assert not list(folder.glob(".*.tmp-*"))


def test_a_checkpoint_of_four_ranks_resumes_on_two_and_on_one(seen_by_ranks: list[Seen], folder: Path) -> None:
    went_on = seen_by_ranks[0]["checkpoint", 4]
    case = CASES["reference, minibatches, iterations"]
    policy = ranks_side.make_policy(case)
    learner = ranks_side.make_learner(case, policy)
    learner.load(folder / "begun")
    one = {"metrics": ranks_side.learn(case, learner, [2]), "weights": ranks_side.weights_of(policy)}
    for found in (seen_by_ranks[0]["resume", 2], one):
        assert_same_metrics(found["metrics"], went_on["metrics"], 1e-5)
        for name, weight in went_on["weights"].items():
            assert (found["weights"][name] - weight).norm() <= 1e-5 * weight.norm(), name


@WORLDS
def test_a_checkpoint_of_one_process_resumes_on_ranks(
    seen_by_ranks: list[Seen], alone: dict[str, dict[str, Any]], ranks: int
) -> None:
    found, expected = seen_by_ranks[0]["resume one process's", ranks], alone["reference, minibatches, iterations"]
    assert found["version"] == 2
    assert_same_metrics(found["metrics"], expected["metrics"][2:], 1e-5)
    for name, weight in expected["weights"].items():
        assert (found["weights"][name] - weight).norm() <= 1e-5 * weight.norm(), name


def test_an_export_loads_in_transformers_and_here(seen_by_ranks: list[Seen], folder: Path) -> None:
    expected = seen_by_ranks[0]["checkpoint", 4]["weights"]
    plain = AutoModelForCausalLM.from_pretrained(folder / "exported")
    assert type(plain).__name__ == plain.config.architectures[0] == "Qwen3ForCausalLM"
    assert plain.lm_head.weight is plain.model.embed_tokens.weight
    for found in (plain, load_policy(folder / "exported", template=None, device="cpu").model):
        assert all(torch.equal(p, expected[name]) for name, p in found.named_parameters())


@WORLDS
def test_errors_are_one_process_s_on_every_rank_and_nothing_is_left_of_them(
    seen_by_ranks: list[Seen], alone: dict[str, dict[str, Any]], ranks: int
) -> None:
    case = CASES["grpo"]
    learner = ranks_side.make_learner(case, ranks_side.make_policy(case))
    found = seen_by_ranks[0]["fail", ranks]
    for name, samples in ranks_side.bad_samples().items():
        message = ranks_side.error_of(lambda samples=samples: learner.update(samples, 0))
        assert message.startswith(f"step 0: the {name}")
        # Which parameter overflows first depends on the microbatches, which sample's loss is infinite doesn't.
        assert found["errors"][name].startswith(message if name == "loss" else message.partition(",")[0])
    assert "holds no learner" in found["errors"]["no checkpoint"]
    assert "another model's weights" in found["errors"]["another model"]
    for of_rank in seen_by_ranks[1:ranks]:
        assert of_rank["fail", ranks]["errors"] == found["errors"]
    assert_same_metrics(found["metrics"], alone["grpo"]["metrics"][:1], 1e-5)


def test_a_rank_that_is_gone_is_an_error_and_no_endless_wait(seen_by_ranks: list[Seen]) -> None:
    assert seen_by_ranks[0]["lost", 2] != "none"
