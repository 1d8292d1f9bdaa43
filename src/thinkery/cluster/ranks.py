"""A learner rank: one process of the group that carries and updates a policy together, as an actor on Ray.

All ranks get the same calls in the same order; what they answer is the same on each. Left out: the update itself
(``training``), how a model is cut up (``sharded_model.py``), and what happens when a rank is lost (``learning.py``).
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import ray

from thinkery.cluster.connect import Here, Home, here, move_in, say
from thinkery.cluster.remote import Load, narrow
from thinkery.cluster.sharded_backend import Sharding, Shards, join_ranks
from thinkery.cluster.weights import Bucket
from thinkery.machine.clock import Clock
from thinkery.models.loading import place_of
from thinkery.training.learner import Learner, LearnerConfig, Sample
from thinkery.training.sft import Example, SFTConfig, SupervisedLearner


class LearnerRank:
    """See the module. ``threads`` are torch's."""

    def __init__(self, name: str, home: Home, rank: int, threads: int) -> None:
        move_in(home, name)
        self._rank, self._threads = rank, threads
        self._learner: Learner | SupervisedLearner | None = None
        self._shards: Shards | None = None
        self._saving: Callable[[], None] | None = None
        self._buckets: Iterator[list[tuple[str, Any]]] | None = None

    def hello(self) -> Here:
        """Where this worker is."""
        return here()

    def address(self) -> str:
        """A free port of this rank's node, for the ranks to meet at."""
        host = ray.util.get_node_ip_address()
        with socket.socket() as free:
            free.bind((host, 0))
            return f"{host}:{free.getsockname()[1]}"

    def join(self, address: str, ranks: int, device: str, timeout_s: float) -> None:
        """Meets the other ranks."""
        narrow(self._threads)
        join_ranks(address, self._rank, ranks, device=place_of(device), timeout_s=timeout_s)
        say(f"rank {self._rank} of {ranks}, met at {address}")

    def learn(self, load: Load, config: LearnerConfig, sharding: Sharding) -> None:
        """Takes a policy to be updated by reinforcement."""
        policy, shards = self._carried(load, sharding)
        self._learner = Learner(policy, config, Clock(), backend=shards)

    def fit(self, load: Load, examples: Sequence[Example], config: SFTConfig, sharding: Sharding) -> None:
        """Takes a policy to be fitted to demonstrations."""
        policy, shards = self._carried(load, sharding)
        self._learner = SupervisedLearner(policy, examples, config, backend=shards)

    def update(self, step: int, samples: Sequence[Sample] | None = None) -> tuple[dict[str, float], float]:
        """One update, from samples or from the examples; its metrics, and the seconds that it took."""
        narrow(self._threads)
        started = time.perf_counter()
        if isinstance(self._learner, Learner):
            assert samples is not None
            metrics = self._learner.update(samples, step)
        else:
            metrics = self._any.update(step)
        seconds = time.perf_counter() - started
        say(f"update {step} in {seconds:.2f} s")
        return metrics, seconds

    def begin_save(self, folder: Path) -> bool:
        """Takes the learner's state; whether it is still being written, for ``end_save`` to wait for."""
        self._saving = self._any.save_async(folder)
        return self._saving is not None

    def end_save(self) -> None:
        """Waits for what ``begin_save`` began; the folder is whole when all ranks have answered."""
        if self._saving is not None:
            self._saving()
            self._saving = None

    def load(self, folder: Path) -> tuple[int, int]:
        """Restores what ``save`` wrote, by however many ranks; the policy's version, and the tokens read by then."""
        self._any.load(folder)
        return self._any.policy.version, getattr(self._any, "tokens", 0)

    def export(self, folder: Path) -> None:
        """Writes the policy as a Hugging Face checkpoint."""
        self._any.export(folder)

    def bucket(self, bucket_bytes: int) -> tuple[Bucket | None, bool]:
        """The next bucket of the weights (rank 0's; the others' are None), and whether there was one."""
        assert self._shards is not None, "a policy is taken before its weights are given"
        if self._buckets is None:
            self._buckets = self._shards.weights(bucket_bytes, self._any.policy.model.dtype)
        tensors = next(self._buckets, None)
        if tensors is None:
            self._buckets = None
            return None, False
        return (Bucket.of(tensors) if tensors else None), True

    @property
    def _any(self) -> Any:
        assert self._learner is not None, "a policy is taken before it is learnt"
        return self._learner

    def _carried(self, load: Load, sharding: Sharding) -> tuple[Any, Shards]:
        """A policy whose model all ranks carry together. Rank 0 reads the weights, the others their shapes."""
        narrow(self._threads)
        self._learner = self._shards = self._buckets = None  # two at a time may not fit
        policy = load.policy(device="cpu" if self._rank == 0 else "meta")
        self._shards = Shards(policy, place_of(load.device), sharding)
        say(f"took {load.place}")
        return policy, self._shards
