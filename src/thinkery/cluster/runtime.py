"""The runtime of a stage on a cluster: the same interfaces as in one process, with workers behind them.

Workers live as long as the run and go from stage to stage. A policy is a handle here: tokenizer, template, version and
shapes; its weights are with the learners, and with the rollout workers once they have been handed over. Left out: what
is not distributed and runs in the driver's process: pre-training, reward models' training, critics and teachers.
"""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import ray

from thinkery.cluster.connect import Home, connect
from thinkery.cluster.grading import ClusterGrader
from thinkery.cluster.learning import ClusterLearner, ClusterSupervised, LearnerRanks
from thinkery.cluster.ranks import LearnerRank
from thinkery.cluster.remote import Load
from thinkery.cluster.reward_worker import RewardWorker
from thinkery.cluster.rollout_worker import BESIDE, RolloutWorker
from thinkery.cluster.sampling import ClusterRollout, WorkerTally
from thinkery.cluster.sharded_backend import Sharding
from thinkery.cluster.weights import DriverSource, Source, Transfer
from thinkery.cluster.worker_pool import (
    LEARNER,
    REWARD,
    REWARD_MODEL,
    ROLLOUT,
    FailureBudget,
    Placement,
    Slot,
    Worker,
    WorkerPool,
)
from thinkery.machine.clock import Clock
from thinkery.models.loading import Policy, load_policy
from thinkery.models.remote_code import trusts_remote_code
from thinkery.models.template import Template
from thinkery.recipe import ClusterSpec, RolloutSpec
from thinkery.rewards.grader import Grader, GraderSpec
from thinkery.training.learner import Learner, LearnerConfig
from thinkery.training.sft import Example, SFTConfig, SupervisedLearner
from thinkery.types import Ahead, Dtype


@dataclass(kw_only=True)
class ClusterPolicy(Policy):
    """A handle of a policy. Its model has weights only where the learner is in this process."""

    load: Load
    source: Source | None = None  # where the weights are that have been learnt; None before there is a learner


class ClusterRuntime:
    """Use it as a context: entering connects and starts the workers, leaving ends them.

    ``address`` as ``connect.connect`` takes it; ``folder`` is the run's; ``note`` is told of workers that are lost.
    """

    def __init__(self, spec: ClusterSpec, address: str, folder: Path, note: Callable[[str], None]) -> None:
        self._spec, self._address = spec, address
        self._home, self._note = Home(folder.resolve(), Path.cwd(), trusts_remote_code()), note
        self._numbers = itertools.count()
        self._tally, self._failures = WorkerTally(), FailureBudget(spec.max_restarts, note)
        self._rollouts: weakref.WeakSet[ClusterRollout] = weakref.WeakSet()
        self._transfer = Transfer(
            self._rollout_lost,
            bucket_bytes=int(spec.bucket_mb * 2**20),
            load_timeout_s=spec.start_timeout_s,
            bucket_timeout_s=spec.update_timeout_s,
        )
        self._connected = False
        self._placement: Placement | None = None
        self._pools: dict[str, WorkerPool] = {}
        self._group: LearnerRanks | None = None

    @property
    def ahead(self) -> Ahead:
        """As the recipe says."""
        return self._spec.ahead

    def policy(self, place: str, *, template: Template | None, device: str, dtype: Dtype) -> ClusterPolicy:
        """A handle: shapes without weights, unless the learner is in this process."""
        where = device if not self._spec.learners else "meta"
        loaded = load_policy(place, template=template, device=where, dtype=dtype)
        generation = loaded.model.generation_config
        load = Load(next(self._numbers), place, loaded.template, device, dtype, generation)
        return ClusterPolicy(
            loaded.model, loaded.tokenizer, loaded.template, loaded.device, loaded.compute_dtype, load=load
        )

    def rollout(self, policy: Policy, *, max_slots: int, spec: RolloutSpec | None = None) -> ClusterRollout:
        """Samples on the rollout workers, which have ``max_slots`` each, and each its vLLM if it is named."""
        handle = _handle(policy)
        rollout = ClusterRollout(
            self._pools[ROLLOUT],
            lambda: self._at_version(handle),
            self._tally,
            max_slots=max_slots,
            spec=spec,
            timeout_s=self._spec.rollout_timeout_s,
        )
        self._rollouts.add(rollout)
        return rollout

    def learner(self, policy: Policy, config: LearnerConfig, clock: Clock) -> Learner | ClusterLearner:
        """The learner on the ranks, or in this process if there are none."""
        handle = _handle(policy)
        if self._group is None:
            handle.source = DriverSource(handle)
            return Learner(handle, config, clock)
        handle.source = self._group
        return ClusterLearner(self._group, handle, handle.load, config, self._sharding(), self._metrics)

    def supervised(self, policy: Policy, examples: Sequence[Example], config: SFTConfig) -> SupervisedLearner:
        """The supervised learner on the ranks, or in this process if there are none."""
        handle = _handle(policy)
        if self._group is None:
            return SupervisedLearner(handle, examples, config)
        return ClusterSupervised(self._group, handle, handle.load, examples, config, self._sharding(), self._metrics)

    def grader(self, spec: GraderSpec) -> Grader:
        """Grades on the reward workers."""
        return ClusterGrader(next(self._numbers), spec, self._pools[REWARD], self._pools.get(REWARD_MODEL))

    def __enter__(self) -> Self:
        self._connected = connect(self._address, self._spec)
        try:
            self._placement = Placement(self._spec, self._note)
            for kind, slots in self._placement.slots.items():
                if slots:
                    self._pools[kind] = WorkerPool(kind, slots, self._start, self._failures, self._spec.start_timeout_s)
            if self._spec.learners:
                self._group = LearnerRanks(self._pools[LEARNER], self._spec, self._abandon)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for pool in self._pools.values():
            pool.close()
        if self._placement is not None:
            self._placement.close()
        if self._connected:
            ray.shutdown()

    def _start(self, kind: str, number: int, name: str, slot: Slot) -> Any:
        """The actor of a slot."""
        options, threads = slot.options(), max(1, int(slot.cpus))
        if kind == LEARNER:
            return _remote(LearnerRank, options).remote(name, self._home, number, threads)
        if kind == ROLLOUT:
            return _remote(RolloutWorker, options | {"concurrency_groups": BESIDE}).remote(name, self._home, threads)
        return _remote(RewardWorker, options).remote(name, self._home)

    def _at_version(self, handle: ClusterPolicy) -> tuple[Load, list[Worker]]:
        """The rollout workers, with the present weights of a policy; at least one."""
        while True:
            workers = self._pools[ROLLOUT].ready()
            if alive := self._transfer.bring(workers, handle.load, handle.version, handle.source):
                return handle.load, alive

    def _rollout_lost(self, worker: Worker, why: str) -> None:
        self._pools[ROLLOUT].lost(worker, why)

    def _abandon(self) -> None:
        """What is being sampled belongs to a learner that is gone."""
        for rollout in list(self._rollouts):
            rollout.abandon()

    def _sharding(self) -> Sharding:
        spec = self._spec
        return Sharding(
            parallel_head=spec.parallel_head, offload=spec.offload, reduce_every_microbatch=spec.reduce_every_microbatch
        )

    def _metrics(self, update_s: float) -> dict[str, float]:
        """What the workers did since the last update: how fast, how long they had nothing to do, how many were lost."""
        metrics = {"cluster/learner/seconds": update_s}
        tally = self._tally
        for name, tokens in tally.tokens.items():
            metrics[f"cluster/{name}/tokens_per_second"] = tokens / tally.busy[name] if tally.busy[name] else 0.0
            metrics[f"cluster/{name}/waited"] = tally.waited[name]
        tally.clear()
        for kind, pool in self._pools.items():
            metrics[f"cluster/{kind}s"] = float(len(pool.present()))
        return metrics | {f"cluster/lost/{kind}": float(count) for kind, count in self._failures.counts.items()}


def _remote(kind: type, options: dict[str, Any]) -> Any:
    """A class as Ray's: what it makes are actors."""
    return ray.remote(**options)(kind)


def _handle(policy: Policy) -> ClusterPolicy:
    assert isinstance(policy, ClusterPolicy), "a policy that this runtime gave"
    return policy
