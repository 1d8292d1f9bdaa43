"""The native rollout: completions sampled in this process, from the very weights that learn.

A call shares its problems out to lanes (``thinkery.machine.lanes``), and each lane works through its own in cohorts. A
cohort's prompts are prefilled together, once each; its completions decode one token a step together with those of the
lane's other cohorts, in one batch; completions are handed out as they finish, and when enough rows are free the next
cohort starts. Left out: more than one device, speculative decoding, and calls that overlap in time (one engine serves
one ``generate`` at a time).
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing

import torch

from thinkery.machine.lanes import interleave, lanes_on
from thinkery.machine.shared_weights import memory_of
from thinkery.models.attention import hidden_states
from thinkery.models.loading import Policy
from thinkery.rollout import sampling as draw
from thinkery.rollout.base import PartialCompletion, RolloutBase, StopRule, check_request, encode, require_fresh
from thinkery.rollout.native.cache import Cache, Cohort, DecodeLayout, PrefillLayout, Prompt, Share
from thinkery.rollout.native.decoder import Decoder
from thinkery.rollout.native.kernels import kernels
from thinkery.rollout.native.lane_processes import LANES
from thinkery.rollout.sampling import completion_key
from thinkery.types import Completion, Problem, Sampling

# Tokens of prompt per prefill forward: wide enough for fast products, small enough that activations stay small.
PREFILL_TOKENS = 8192
# Steps between two hand-outs of finished completions. Entering autocast casts all weights anew, so not every step.
BURST = 16
# A new cohort starts when this share of the slots is free: cohorts that start more often are more and smaller.
FREE_SHARE = 0.25


class NativeRollout(RolloutBase):
    """Samples from a policy, in each lane's order of finishing; see ``asking.Calls``.

    ``max_slots`` is how many completions decode at a time, in all lanes; it bounds the memory, and changes no random
    number. ``lanes`` None: as many as pay on the policy's device.
    """

    def __init__(self, policy: Policy, *, max_slots: int = 512, lanes: int | None = None) -> None:
        super().__init__(policy, max_slots)
        self._lanes = lanes or lanes_on(policy.device)
        self.bursts = 0  # in all calls and lanes: a sign of life
        if policy.device.type == "cpu":
            kernels(policy.compute_dtype)  # compiled once, here, if at all: the lanes' processes only load it
        if memory_of(policy.model) is not None:
            LANES.start(range(1, self._lanes))

    def _go_on(
        self,
        problems: Sequence[Problem],
        pieces: Sequence[PartialCompletion],
        sampling: Sampling,
        counted_by: tuple[int, str],
        cut: threading.Event,
    ) -> Iterator[Completion]:
        check_request(problems, sampling)
        own: dict[str, list[PartialCompletion]] = {problem.id: [] for problem in problems}
        for piece in pieces:
            own[piece.problem_id].append(piece)
        stops = self.ends.asked(sampling)
        stop = self.ends.rule(stops)
        lanes = max(1, min(self._lanes, len(problems), self.max_slots))
        slots, version = self.max_slots // lanes, self.policy.version
        calls = []
        for lane in range(lanes):
            prompts = tuple(self._prompts(problems[lane::lanes], own, sampling, slots))
            calls.append(Call(self.policy, Share(prompts, sampling, stops, slots, counted_by, version), stop, cut))
        sources = [self._counted(LANES.run(lane, call, cut)) for lane, call in enumerate(calls)]
        with closing(interleave(sources)) as completions:
            try:
                yield from require_fresh(completions, self.policy, version, max_staleness=0)
            finally:
                cut.set()
        self.left = [piece for call in calls for piece in call.left]

    def _prompts(
        self,
        problems: Iterable[Problem],
        pieces: Mapping[str, Sequence[PartialCompletion]],
        sampling: Sampling,
        max_slots: int,
    ) -> Iterator[Prompt]:
        """The work in units that a cohort takes whole; a group larger than the slots is cut."""
        context = getattr(self.policy.model.config, "max_position_embeddings", None)
        for problem in problems:
            token_ids = encode(self.policy, problem, sampling, context)
            for piece in pieces[problem.id]:
                if piece.token_ids:
                    yield Prompt(problem.id, token_ids, (piece,))
            unbegun = tuple(piece for piece in pieces[problem.id] if not piece.token_ids)
            for first in range(0, len(unbegun), max_slots):
                yield Prompt(problem.id, token_ids, unbegun[first : first + max_slots])

    def _counted(self, bursts: Generator[list[Completion], None, None]) -> Generator[list[Completion], None, None]:
        with closing(bursts):
            for finished in bursts:
                self.bursts += 1
                yield finished


class Call:
    """A lane's share of one ``generate``: the prompts still waiting and the cohorts that decode.

    ``left`` is what is not finished when ``run`` ends, in whatever process that was.
    """

    def __init__(self, policy: Policy, share: Share, stop: StopRule, cut: threading.Event) -> None:
        self.policy, self.share, self.stop, self.cut = policy, share, stop, cut
        self.sampling, self.max_slots = share.sampling, share.max_slots
        self.vocabulary = policy.valid_vocab
        self.head = policy.model.get_output_embeddings()
        self.waiting = deque(share.prompts)
        self.decoder: Decoder | None = None
        self.cohorts: list[Cohort] = []
        self.left: Sequence[PartialCompletion] = ()

    def run(self) -> Generator[list[Completion], None, None]:
        """What each burst of decoding finished; the caller never runs inside the engine's autocast or no_grad state."""
        longest = max((len(prompt.token_ids) for prompt in self.share.prompts), default=0)
        try:
            self.decoder = Decoder.of(self.policy, longest + self.sampling.max_completion_length)
            while (self.waiting or self.cohorts) and not self.cut.is_set():
                with torch.no_grad(), self.policy.autocast():
                    finished = self._burst()
                yield finished
        finally:
            self.left = self._pieces()

    def _pieces(self) -> list[PartialCompletion]:
        """What decodes, and what still waits."""
        waiting = [piece for prompt in self.waiting for piece in prompt.pieces]
        return [piece for cohort in self.cohorts for piece in cohort.pieces()] + waiting

    def _burst(self) -> list[Completion]:
        finished: list[Completion] = []
        for _ in range(BURST):
            finished += self._admit()
            if not self.cohorts:
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
            completion_key(*self.share.counted_by, piece.step, piece.problem_id, piece.index)
            for prompt in prompts
            for piece in prompt.pieces
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
