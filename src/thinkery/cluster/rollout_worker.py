"""A rollout worker: holds a policy and samples from it, as an actor on Ray.

Loading, weights and sampling are calls that Ray runs one after the other; what is sampled is fetched beside them, in
portions, so that sampling never waits for the driver. Its engine is the native one, or vLLM beside the policy, which
hands it the weights. A worker samples under the very version that it is told, or refuses. Left out: which problems it
is given (``sampling.py``).
"""

from __future__ import annotations

import queue
import threading
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol, cast

import ray

from thinkery.cluster.connect import Here, Home, here, move_in, say
from thinkery.cluster.remote import Load, narrow
from thinkery.cluster.weights import Bucket, fill
from thinkery.models.loading import Policy
from thinkery.recipe import RolloutSpec
from thinkery.rollout import open_rollout
from thinkery.rollout.base import PartialCompletion, ResumableRollout
from thinkery.types import Completion, Problem, Sampling, UserError

BESIDE = {"beside": 4}  # threads for the calls that go on while it samples
_TOGETHER_S = 0.05  # what finishes within it travels together


class WatchedRollout(ResumableRollout, Protocol):
    """A rollout of a worker; ``bursts`` grows while it computes."""

    @property
    def bursts(self) -> int:
        """How often it has computed something."""
        ...


@dataclass(frozen=True)
class SamplingRequest:
    """Completions to be finished under a version of the policy. ``key`` names the request."""

    key: str
    problems: tuple[Problem, ...]
    partials: tuple[PartialCompletion, ...]
    sampling: Sampling
    seed: int
    stage: str
    max_slots: int
    spec: RolloutSpec | None
    policy_number: int
    policy_version: int


@dataclass(frozen=True)
class Portion:
    """What a request made since the last one; without completions ``beat``, a sign of life: it counts the work done.

    The last portion is ``over``: ``unfinished`` is what was interrupted, ``seconds`` and ``tokens`` what all of it
    took.
    """

    completions: tuple[Completion, ...] = ()
    beat: int = 0
    over: bool = False
    unfinished: tuple[PartialCompletion, ...] = ()
    error: Exception | None = None
    seconds: float = 0.0
    waited: float = 0.0  # seconds without an order before this one
    tokens: int = 0


@dataclass
class _Sent:
    """A request's portions on their way."""

    portions: queue.SimpleQueue[Portion] = field(default_factory=queue.SimpleQueue)
    interrupted: threading.Event = field(default_factory=threading.Event)
    forgotten: bool = False  # nobody will fetch them


class RolloutWorker:
    """See the module. ``threads`` are torch's."""

    def __init__(self, name: str, home: Home, threads: int) -> None:
        move_in(home, name)
        self._threads = threads
        self._load: Load | None = None
        self._policy: Policy | None = None
        self._rollout: WatchedRollout | None = None
        self._made_for: tuple[int, RolloutSpec | None] | None = None
        self._sent: dict[str, _Sent] = {}
        self._lock = threading.Lock()
        self._sampling: str | None = None  # the request that is being worked on
        self._beat = 0
        self._idle_since = time.monotonic()

    def hello(self) -> Here:
        """Where this worker is."""
        return here()

    def load(self, load: Load) -> None:
        """Takes a policy from its checkpoint, in place of the one before it."""
        narrow(self._threads)
        self._policy = self._rollout = None  # two at a time may not fit
        self._policy, self._load = load.policy(), load
        self._beat += 1
        say(f"loaded {load.place}")

    def take(self, bucket: Bucket) -> None:
        """Takes new weights in. Until ``become`` the policy is none of any version."""
        policy = self._require()
        policy.version = -1
        fill(dict(policy.model.named_parameters()), bucket.tensors())
        self._beat += 1

    def become(self, version: int) -> None:
        """All weights of this version have been taken."""
        self._require().version = version

    def sample(self, request: SamplingRequest) -> None:
        """Works on a request until it is done or interrupted. What it makes goes out through ``next``."""
        narrow(self._threads)
        sent, started = self._of(request.key), time.monotonic()
        waited = started - self._idle_since
        tokens = 0
        unfinished: Sequence[PartialCompletion] = request.partials
        error: Exception | None = None
        try:
            rollout = self._rollout_for(request)
            flow = rollout.resume(
                request.problems, request.partials, request.sampling, seed=request.seed, stage=request.stage
            )
            self._sampling = request.key
            if sent.interrupted.is_set():
                rollout.interrupt()
            finished: list[Completion] = []
            since = started
            for completion in flow:
                finished.append(completion)
                tokens += len(completion.token_ids)
                if time.monotonic() - since >= _TOGETHER_S:
                    sent.portions.put(Portion(tuple(finished)))
                    finished, since = [], time.monotonic()
            unfinished = rollout.unfinished
            sent.portions.put(Portion(tuple(finished)))
        except UserError as mistake:
            error = mistake
        except Exception:
            error = RuntimeError(f"sampling failed:\n{traceback.format_exc()}")
        self._sampling = None
        self._idle_since = time.monotonic()
        seconds = self._idle_since - started
        over = Portion(
            over=True, unfinished=tuple(unfinished), error=error, seconds=seconds, waited=waited, tokens=tokens
        )
        sent.portions.put(over)
        if sent.forgotten:
            self._drop(request.key)
        say(
            f"{request.stage}: {len(request.partials) - len(unfinished)} of {len(request.partials)} completions, "
            f"{tokens} tokens in {seconds:.2f} s after waiting {waited:.2f} s, version {request.policy_version}"
        )

    @ray.method(concurrency_group="beside")
    def next(self, key: str, wait_s: float) -> Portion:
        """What the request has made, as soon as there is something; empty after ``wait_s``, with the beat."""
        sent = self._of(key)
        try:
            portion = sent.portions.get(timeout=wait_s)
        except queue.Empty:
            return Portion(beat=self._beat + (self._rollout.bursts if self._rollout is not None else 0))
        if portion.over:
            self._drop(key)
        return portion

    @ray.method(concurrency_group="beside")
    def interrupt(self, key: str, forget: bool = False) -> None:
        """Ends a request early; with ``forget`` nobody will ask what it made."""
        sent = self._of(key)
        sent.forgotten = forget
        sent.interrupted.set()
        if self._sampling == key and self._rollout is not None:
            self._rollout.interrupt()

    def _of(self, key: str) -> _Sent:
        with self._lock:
            return self._sent.setdefault(key, _Sent())

    def _drop(self, key: str) -> None:
        with self._lock:
            self._sent.pop(key, None)

    def _require(self) -> Policy:
        assert self._policy is not None, "a policy is loaded before it is used"
        return self._policy

    def _rollout_for(self, request: SamplingRequest) -> WatchedRollout:
        policy = self._require()
        number = self._load.number if self._load else None
        if (number, policy.version) != (request.policy_number, request.policy_version):
            raise RuntimeError(
                f"told to sample from policy {request.policy_number} version {request.policy_version}, and here is "
                f"policy {number} version {policy.version}"
            )
        wanted = request.max_slots, request.spec
        if self._rollout is None or self._made_for != wanted:
            self._rollout, self._made_for = cast(WatchedRollout, open_rollout(policy, *wanted)), wanted
        return self._rollout
