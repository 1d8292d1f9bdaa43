"""Two raylets on one machine, a rollout worker on each; one of them is killed while it samples."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
import ray
from ray.cluster_utils import Cluster

from thinkery.cluster.connect import prepare
from thinkery.cluster.runtime import ClusterRuntime
from thinkery.models.loading import load_policy
from thinkery.problems.source import open_source
from thinkery.recipe import ClusterSpec, ProblemSpec
from thinkery.rollout import NativeRollout
from thinkery.types import Completion, Sampling

pytestmark = pytest.mark.slow

PROBLEMS = open_source(ProblemSpec(source="mini", split="train", levels=[1])).fixed(6)
SAMPLING = Sampling(num_generations=4, max_completion_length=64)
MOST_STEPS = 200  # a worker outlives its node's raylet by some seconds, in which it goes on working


@pytest.fixture
def two_nodes() -> Iterator[Cluster]:
    """Nodes with room for one rollout worker each."""
    prepare()
    memory = 100 * 2**20
    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False, "object_store_memory": memory}
    )
    cluster.add_node(num_cpus=1, object_store_memory=memory)
    cluster.wait_for_nodes()
    yield cluster
    ray.shutdown()
    cluster.shutdown()


def tokens_of(completions: Iterable[Completion]) -> dict[tuple[str, int], tuple[int, ...]]:
    return {(one.problem_id, one.index): one.token_ids for one in completions}


def test_a_lost_node_shrinks_the_rollout_pool_and_the_work_is_done_all_the_same(
    two_nodes: Cluster, tiny_model: Path, tmp_path: Path
) -> None:
    notes: list[str] = []
    spec = ClusterSpec(learners=0, rollouts=2, rewards=1, cpus=1, start_timeout_s=60, rollout_timeout_s=60)
    with ClusterRuntime(spec, two_nodes.address, tmp_path, notes.append) as runtime:
        policy = runtime.policy(str(tiny_model), template=None, device="cpu", dtype="float32")
        rollout = runtime.rollout(policy, max_slots=512)
        pool = runtime._pools["rollout"]
        assert len({worker.node for worker in pool.ready()}) == 2
        alone = NativeRollout(load_policy(tiny_model, template=None, device="cpu", dtype="float32"))
        flow = rollout.generate(PROBLEMS, SAMPLING, seed=0, step=0, stage="s")
        two_nodes.remove_node(next(iter(two_nodes.worker_nodes)), allow_graceful=False)
        for step in range(MOST_STEPS):
            flow = flow if step == 0 else rollout.generate(PROBLEMS, SAMPLING, seed=0, step=step, stage="s")
            expected = alone.generate(PROBLEMS, SAMPLING, seed=0, step=step, stage="s")
            assert tokens_of(flow) == tokens_of(expected)
            if len(pool.ready()) == 1:
                break
        assert len(pool.ready()) == 1
    assert any("is gone" in line for line in notes)
