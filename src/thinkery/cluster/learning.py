"""The driver's side of learning: the same learners as in one process, with the ranks behind them.

A rank can't be replaced alone: its part of the weights and of the optimizer went with it. All ranks are started anew,
and ``LearnerLost`` tells the pipeline to resume from the stage's last checkpoint. Left out: what a rank does.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import ray

from thinkery.cluster.remote import Load, WorkerLost, all_settled, settled
from thinkery.cluster.worker_pool import Worker, WorkerPool
from thinkery.models.loading import Policy
from thinkery.recipe import ClusterSpec
from thinkery.training.learner import LearnerConfig, Sample
from thinkery.training.sft import Example, SFTConfig, SupervisedLearner
from thinkery.types import LearnerLost, UserError

_PATIENCE_S = 30.0  # for the news of a rank's death, after another has said that it no longer answers
# How torch says that another rank is gone or late.
_DESERTED = re.compile(r"gloo|nccl|connection|timed out|timeout|peer", re.IGNORECASE)

Extra = Callable[[float], dict[str, float]]


class LearnerRanks:
    """All learner ranks, called together."""

    def __init__(self, pool: WorkerPool, spec: ClusterSpec, when_lost: Callable[[], None]) -> None:
        self._pool, self._spec, self._when_lost = pool, spec, when_lost
        self._joined: list[Worker] = []

    def call(self, method: str, *arguments: Any) -> list[Any]:
        """A method of all ranks; their answers. Raises ``LearnerLost`` if one is lost, once new ones start."""
        workers = self._joined
        refs = [getattr(worker.actor, method).remote(*arguments) for worker in workers]
        return self._answers(refs, self._spec.update_timeout_s, [f"{worker.name} ({method})" for worker in workers])

    def gather(self, device: str) -> None:
        """Has the ranks meet, if they have not yet."""
        if self._joined:
            return
        workers = sorted(self._pool.all_ready(), key=lambda worker: worker.slot)
        names = [worker.name for worker in workers]
        address = self._answers([workers[0].actor.address.remote()], self._spec.start_timeout_s, names[:1])[0]
        refs = [
            worker.actor.join.remote(address, len(workers), device, self._spec.collective_timeout_s)
            for worker in workers
        ]
        self._answers(refs, self._spec.start_timeout_s, names)
        self._joined = workers

    def save_async(self, folder: Path) -> Callable[[], None] | None:
        """Every rank begins to write its part, while the next update goes on; what is given waits for the rest."""
        if not any(self.call("begin_save", folder)):
            return None

        def rest() -> None:
            self.call("end_save")

        return rest

    def buckets(self, bucket_bytes: int) -> Iterator[Any]:
        """References to the buckets of the weights, which rank 0 puts together with the others' help."""
        names = [f"{worker.name} (weights)" for worker in self._joined]
        while True:
            calls = [worker.actor.bucket.options(num_returns=2).remote(bucket_bytes) for worker in self._joined]
            if not self._answers([more for _, more in calls], self._spec.update_timeout_s, names)[0]:
                return
            yield calls[0][0]

    def _answers(self, refs: Sequence[Any], timeout_s: float, names: Sequence[str]) -> list[Any]:
        try:
            return all_settled(refs, timeout_s, names)
        except UserError:
            raise  # a mistake: the same on every rank
        except WorkerLost as lost:
            raise self._lost(str(lost)) from None
        except Exception as error:
            for ref, name in zip(refs, names, strict=True):
                try:
                    settled(ref, _PATIENCE_S, name)
                except WorkerLost as lost:
                    raise self._lost(str(lost)) from None
                except Exception:
                    continue
            if _DESERTED.search(str(error)):
                raise self._lost(f"a learner waited in vain for another ({str(error).splitlines()[0]})") from None
            raise

    def _lost(self, why: str) -> LearnerLost:
        self._joined = []
        self._when_lost()
        self._pool.restart(why)
        return LearnerLost(why)


class ClusterLearner:
    """``training.learner.Learner`` on the ranks. ``extra(seconds at work)`` gives metrics of the cluster."""

    def __init__(
        self, group: LearnerRanks, policy: Policy, load: Load, config: LearnerConfig, sharding: Any, extra: Extra
    ) -> None:
        self._group, self._policy, self._extra = group, policy, extra
        group.gather(load.device)
        group.call("learn", load, config, sharding)

    def update(self, samples: Sequence[Sample], step: int) -> dict[str, float]:
        """See ``Learner.update``."""
        metrics, seconds = self._group.call("update", step, ray.put(list(samples)))[0]
        self._policy.version += 1
        return dict(metrics) | self._extra(seconds)

    def save(self, folder: Path) -> None:
        """Every rank writes its part."""
        if (rest := self.save_async(folder)) is not None:
            rest()

    def save_async(self, folder: Path) -> Callable[[], None] | None:
        """Every rank writes its part while it goes on."""
        return self._group.save_async(folder)

    def load(self, folder: Path) -> None:
        """Every rank reads its part, whoever wrote it."""
        self._policy.version, _ = self._group.call("load", folder)[0]

    def export(self, folder: Path) -> None:
        """Rank 0 writes the whole."""
        self._group.call("export", folder)


class ClusterSupervised(SupervisedLearner):
    """``SupervisedLearner`` on the ranks. What is decided without weights is decided here: batches and their order."""

    def __init__(
        self,
        group: LearnerRanks,
        policy: Policy,
        load: Load,
        examples: Sequence[Example],
        config: SFTConfig,
        sharding: Any,
        extra: Extra,
    ) -> None:
        super().__init__(policy, examples, config)
        self._group, self._extra = group, extra
        group.gather(load.device)
        group.call("fit", load, ray.put(list(examples)), config, sharding)

    def update(self, step: int) -> dict[str, float]:
        """See ``SupervisedLearner.update``."""
        metrics, seconds = self._group.call("update", step)[0]
        self.policy.version += 1
        self.tokens = int(metrics["tokens"])
        return dict(metrics) | self._extra(seconds)

    def save_async(self, folder: Path) -> Callable[[], None] | None:
        """Every rank writes its part while it goes on."""
        return self._group.save_async(folder)

    def load(self, folder: Path) -> None:
        """Every rank reads its part, whoever wrote it."""
        self.policy.version, self.tokens = self._group.call("load", folder)[0]

    def export(self, folder: Path) -> None:
        """Rank 0 writes the whole."""
        self._group.call("export", folder)
