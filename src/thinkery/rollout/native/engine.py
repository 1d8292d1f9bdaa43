"""The native rollout: completions sampled in this process, from the very weights that learn.

A call shares its problems out to workers (``thinkery.machine.cpu_workers``), and each worker works through its own in
cohorts. A cohort's prompts are prefilled together, once each; its completions decode one token a step together with
those of the worker's other cohorts, in one batch; completions are handed out as they finish, and when enough rows are
free the next cohort starts. Left out: more than one device, speculative decoding, and calls that overlap in time (one
engine serves one ``generate`` at a time).
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing

import torch

from thinkery.machine.cpu_workers import interleave, workers_on
from thinkery.machine.shared_weights import memory_of
from thinkery.models.attention import hidden_states
from thinkery.models.loading import Policy
from thinkery.recipe.rollout import NativeRolloutSpec
from thinkery.rollout import base as draw
from thinkery.rollout.base import (
    PartialCompletion,
    RolloutBase,
    StopRule,
    check_request,
    completion_key,
    encode,
    require_fresh,
)
from thinkery.rollout.native.cache import Cache, Cohort, DecodeLayout, PrefillLayout, Prompt, Share
from thinkery.rollout.native.decoder import Decoder
from thinkery.rollout.native.kernels import kernels
from thinkery.rollout.native.worker_processes import WORKER_PROCESSES
from thinkery.types import Completion, Problem, Sampling

# Tokens of prompt per prefill forward: wide enough for fast products, small enough that activations stay small.
PREFILL_TOKENS = 8192
# Steps between two hand-outs of finished completions. Entering autocast casts all weights anew, so not every step.
BURST = 16
# A new cohort starts when this share of the slots is free: cohorts that start more often are more and smaller.
FREE_SHARE = 0.25


class NativeRollout(RolloutBase):
    """Samples from a policy, in each worker's order of finishing; see ``RolloutBase``.

    ``max_slots`` is how many completions decode at a time, in all workers; it bounds the memory, and changes no random
    number. ``workers`` None: as many as pay on the policy's device.
    """

    def __init__(self, policy: Policy, *, max_slots: int = 512, workers: int | None = None) -> None:
        super().__init__(policy, max_slots)
        self._workers = workers or workers_on(policy.device)
        self.bursts = 0  # in all calls and workers: a sign of life
        if policy.device.type == "cpu":
            kernels(policy.compute_dtype)  # compiled once, here, if at all: the workers' processes only load it
        if memory_of(policy.model) is not None:
            WORKER_PROCESSES.start(range(1, self._workers))

    def _finish(
        self,
        problems: Sequence[Problem],
        partials: Sequence[PartialCompletion],
        sampling: Sampling,
        keyed_by: tuple[int, str],
        interrupted: threading.Event,
    ) -> Iterator[Completion]:
        check_request(problems, sampling)
        own: dict[str, list[PartialCompletion]] = {problem.id: [] for problem in problems}
        for partial in partials:
            own[partial.problem_id].append(partial)
        stops = self.ends.asked(sampling)
        stop = self.ends.rule(stops)
        workers = max(1, min(self._workers, len(problems), self.max_slots))
        slots, version = self.max_slots // workers, self.policy.version
        calls = []
        for worker in range(workers):
            prompts = tuple(self._prompts(problems[worker::workers], own, sampling, slots))
            calls.append(
                DecodingCall(self.policy, Share(prompts, sampling, stops, slots, keyed_by, version), stop, interrupted)
            )
        sources = [self._counted(WORKER_PROCESSES.run(worker, call, interrupted)) for worker, call in enumerate(calls)]
        with closing(interleave(sources, interrupted.set)) as completions:
            try:
                yield from require_fresh(completions, self.policy, version, max_staleness=0)
            finally:
                interrupted.set()
        self.unfinished = [partial for call in calls for partial in call.unfinished]

    def _prompts(
        self,
        problems: Iterable[Problem],
        partials: Mapping[str, Sequence[PartialCompletion]],
        sampling: Sampling,
        max_slots: int,
    ) -> Iterator[Prompt]:
        """The work in units that a cohort takes whole; a group larger than the slots is split."""
        context = getattr(self.policy.model.config, "max_position_embeddings", None)
        for problem in problems:
            token_ids = encode(self.policy, problem, sampling, context)
            for partial in partials[problem.id]:
                if partial.token_ids:
                    yield Prompt(problem.id, token_ids, (partial,))
            unbegun = tuple(partial for partial in partials[problem.id] if not partial.token_ids)
            for first in range(0, len(unbegun), max_slots):
                yield Prompt(problem.id, token_ids, unbegun[first : first + max_slots])

    def _counted(self, bursts: Generator[list[Completion], None, None]) -> Generator[list[Completion], None, None]:
        with closing(bursts):
            for finished in bursts:
                self.bursts += 1
                yield finished


class DecodingCall:
    """A worker's share of one ``generate``: the prompts still waiting and the cohorts that decode.

    ``unfinished`` is what is not finished when ``run`` ends, in whatever process that was.
    """

    def __init__(self, policy: Policy, share: Share, stop: StopRule, interrupted: threading.Event) -> None:
        self.policy, self.share, self.stop, self.interrupted = policy, share, stop, interrupted
        self.sampling, self.max_slots = share.sampling, share.max_slots
        self.vocabulary = policy.valid_vocab
        self.head = policy.model.get_output_embeddings()
        self.waiting = deque(share.prompts)
        self.decoder: Decoder | None = None
        self.cohorts: list[Cohort] = []
        self.unfinished: Sequence[PartialCompletion] = ()

    def run(self) -> Generator[list[Completion], None, None]:
        """What each burst of decoding finished; the caller never runs inside the engine's autocast or no_grad state."""
        longest = max((len(prompt.token_ids) for prompt in self.share.prompts), default=0)
        try:
            self.decoder = Decoder.of(self.policy, longest + self.sampling.max_completion_length)
            while (self.waiting or self.cohorts) and not self.interrupted.is_set():
                with torch.no_grad(), self.policy.autocast():
                    finished = self._burst()
                yield finished
        finally:
            self.unfinished = self._pieces()

    def _pieces(self) -> list[PartialCompletion]:
        """What decodes, and what still waits."""
        waiting = [partial for prompt in self.waiting for partial in prompt.partials]
        return [partial for cohort in self.cohorts for partial in cohort.partials()] + waiting

    def _burst(self) -> list[Completion]:
        finished: list[Completion] = []
        for _ in range(BURST):
            finished += self._admit()
            if not self.cohorts or self.interrupted.is_set():
                break
            finished += self._step()
        return finished

    def _admit(self) -> list[Completion]:
        """Starts a cohort if enough slots are free. Its first tokens may already end completions."""
        free = self.max_slots - sum(cohort.cache.rows for cohort in self.cohorts)
        if not self.waiting or (self.cohorts and free < max(self.max_slots * FREE_SHARE, self.waiting[0].count)):
            return []
        prompts: list[Prompt] = []
        while self.waiting and self.waiting[0].count <= free:
            prompts.append(self.waiting.popleft())
            free -= prompts[-1].count
        cohort, logits_SV = self._prefill(prompts)
        self.cohorts.append(cohort)
        return self._record([cohort], logits_SV)

    def _prefill(self, prompts: list[Prompt]) -> tuple[Cohort, torch.Tensor]:
        """Forwards every prompt once -> the cohort that continues them, and the logits [S, V] of its first tokens."""
        device = self.policy.device
        lengths_P = torch.tensor([len(prompt.text_ids) for prompt in prompts])
        longest = int(lengths_P.max())
        ids_PT = torch.zeros(len(prompts), longest, dtype=torch.long)
        for row_T, prompt in zip(ids_PT, prompts, strict=True):
            row_T[: len(prompt.text_ids)] = torch.tensor(prompt.text_ids)
        last, layouts = [], []
        batch = max(1, PREFILL_TOKENS // longest)
        for part_PT, lengths in zip(torch.split(ids_PT, batch), torch.split(lengths_P, batch), strict=True):
            layouts.append(PrefillLayout())
            hidden_PTD = hidden_states(self.policy.model, part_PT.to(device), None, layouts[-1])
            last.append(hidden_PTD[torch.arange(len(part_PT), device=device), lengths.to(device) - 1])
        counts_P = torch.tensor([prompt.count for prompt in prompts], device=device)
        problem_S = torch.arange(len(prompts), device=device).repeat_interleave(counts_P)
        cache = Cache(layouts, lengths_P.to(device), problem_S, self.policy.compute_dtype)
        keys = [
            completion_key(*self.share.keyed_by, partial.step, partial.problem_id, partial.index)
            for prompt in prompts
            for partial in prompt.partials
        ]
        cohort = Cohort(
            prompts,
            cache,
            torch.tensor(keys, device=device),
            self.stop,
            max_length=self.sampling.max_completion_length,
            policy_version=self.share.version,
        )
        return cohort, self._logits(torch.cat(last))[problem_S]

    def _step(self) -> list[Completion]:
        """One token for every row."""
        cohorts = self.cohorts
        for cohort in cohorts:
            cohort.cache.advance()
        caches = [cohort.cache for cohort in cohorts]
        ids_S, positions_S = map(torch.cat, zip(*(cohort.inputs() for cohort in cohorts), strict=True))
        if self.decoder is not None:
            return self._record(cohorts, self.decoder.logits(ids_S, positions_S, caches))
        hidden_S1D = hidden_states(self.policy.model, ids_S[:, None], positions_S[:, None], DecodeLayout(caches))
        return self._record(cohorts, self._logits(hidden_S1D[:, 0]))

    def _logits(self, hidden_SD: torch.Tensor) -> torch.Tensor:
        """[S, V], without the rows that only pad the vocabulary."""
        logits_SV: torch.Tensor = self.head(hidden_SD)
        return logits_SV[:, : self.vocabulary]

    def _record(self, cohorts: list[Cohort], logits_SV: torch.Tensor) -> list[Completion]:
        """Samples a token for every row and takes out the completions that it ends."""
        u_S = torch.cat([cohort.draw() for cohort in cohorts])
        tokens_S, logprobs_S = draw.sample(logits_SV, u_S, self.sampling)
        sizes = [cohort.cache.rows for cohort in cohorts]
        finished: list[Completion] = []
        sampled = (torch.split_with_sizes(t, sizes) for t in (tokens_S, logprobs_S, self.stop.flags_V[tokens_S]))
        parts = zip(cohorts, *sampled, strict=True)
        for cohort, tokens, logprobs, flags in parts:
            finished += cohort.append(tokens, logprobs, flags)
        self.cohorts = [cohort for cohort in self.cohorts if not cohort.finished]
        return finished


def open_rollout(policy: Policy, max_slots: int, _: NativeRolloutSpec | None) -> NativeRollout:
    """The rollout of a recipe's section ``rollout: {backend: native}``, or of none."""
    return NativeRollout(policy, max_slots=max_slots)
