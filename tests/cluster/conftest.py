"""A Ray of its own for every module that needs one: two workers of each kind, tiny models, short deadlines."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import ray

from thinkery.cluster.connect import connect
from thinkery.cluster.runtime import ClusterRuntime
from thinkery.recipe import ClusterSpec

SPEC = ClusterSpec(
    learners=2,
    rollouts=2,
    rewards=2,
    start_timeout_s=300,
    rollout_timeout_s=120,
    update_timeout_s=300,
    collective_timeout_s=120,
    cpus=0.1,
    object_store_mb=200,
)


class Notes(list[str]):
    """What whoever watches was told."""

    def __call__(self, line: str) -> None:
        self.append(line)


@pytest.fixture(scope="module")
def local_ray() -> Iterator[None]:
    """Ray on this machine."""
    connect("local", SPEC)
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def notes() -> Notes:
    """What the engines said."""
    return Notes()


@pytest.fixture(scope="module")
def runtime(local_ray: None, tmp_path_factory: pytest.TempPathFactory, notes: Notes) -> Iterator[ClusterRuntime]:
    """Runtime that a module's tests share: they go from stage to stage, as in a ladder."""
    with ClusterRuntime(SPEC, "local", tmp_path_factory.mktemp("run"), notes) as opened:
        yield opened
