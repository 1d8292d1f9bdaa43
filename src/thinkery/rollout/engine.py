"""The native rollout: completions sampled in this process, from the very weights that learn.

A call shares its problems out to lanes (``thinkery.lanes``), and each lane works through its own in cohorts. A
cohort's prompts are prefilled together, once each; its completions decode one token a step together with those of the
lane's other cohorts, in one batch; completions are handed out as they finish, and when enough rows are free the next
cohort starts. Left out: more than one device, speculative decoding, and calls that overlap in time (one engine serves
one ``generate`` at a time).
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing

import torch

from thinkery.lanes import interleave, lanes_on
from thinkery.models.attention import hidden_states
from thinkery.models.loading import Policy
from thinkery.models.shared import memory_of
from thinkery.rollout import sampling as draw
from thinkery.rollout.cache import Cache, DecodeLayout, PrefillLayout
from thinkery.rollout.cohort import Cohort, Prompt
from thinkery.rollout.counter import completion_key, uniforms
from thinkery.rollout.lane_processes import LANES
from thinkery.rollout.share import Share, Stops
from thinkery.rollout.stopping import StopRule
from thinkery.types import Completion, Problem, Sampling, UserError

# Tokens of prompt per prefill forward: wide enough for fast products, small enough that activations stay small.
PREFILL_TOKENS = 8192
# Steps between two hand-outs of finished completions. Entering autocast casts all weights anew, so not every step.
BURST = 16
# A new cohort starts when this share of the slots is free: cohorts that start more often are more and smaller.
FREE_SHARE = 0.25


class NativeRollout:
    """Samples from a policy; implements ``thinkery.types.Rollout``.

    ``max_slots`` is how many completions decode at a time, in all lanes; it bounds the memory, and changes no random
    number. ``lanes`` None: as many as pay on the policy's device.
    """

    def __init__(self, policy: Policy, *, max_slots: int = 512, lanes: int | None = None) -> None:
        if max_slots < 1:
            raise UserError(f"max_slots is {max_slots}: must be 1 or more")
        self.policy = policy
        self.max_slots = max_slots
        self._lanes = lanes or lanes_on(policy.device)
        self._stop: tuple[Stops, StopRule] | None = None
        if memory_of(policy.model) is not None:
            LANES.start(range(1, self._lanes))

    def generate(
        self, problems: Sequence[Problem], sampling: Sampling, *, seed: int, step: int, stage: str
    ) -> Iterator[Completion]:
        """Yields ``num_generations`` completions of every problem, in each lane in the order in which they finish.

        The same (seed, stage, step), problem and index draw the same random numbers whatever else is sampled.
        Raises ``UserError`` for settings that make no sense or prompts that leave no room in the model's context, and
        ``RuntimeError`` if the policy's version changes between two completions.
        """
        draw.check(sampling)
        for problem_id, times in Counter(problem.id for problem in problems).items():
            if times > 1:
                raise UserError(f"problem {problem_id} is asked for twice: its completions would be the same")
        ends = self._ends(sampling)
        stop = self._stop_rule(ends)
        lanes = max(1, min(self._lanes, len(problems), self.max_slots))
        slots = self.max_slots // lanes
        version = self.policy.version
        calls = []
        for lane in range(lanes):
            prompts = tuple(self._prompts(problems[lane::lanes], sampling, slots))
            share = Share(prompts, sampling, ends, slots, (seed, stage, step), version)
            calls.append(Call(self.policy, share, stop))
        over = threading.Event()
        sources = [LANES.run(lane, call, over) for lane, call in enumerate(calls)]
        with closing(interleave(sources)) as completions:
            try:
                for completion in completions:
                    if self.policy.version != version:
                        raise RuntimeError(
                            f"the policy went from version {version} to {self.policy.version} while it was sampled "
                            "from: collect all completions of a step before the learner updates"
                        )
                    yield completion
            finally:
                over.set()

    def _prompts(self, problems: Sequence[Problem], sampling: Sampling, max_slots: int) -> Iterator[Prompt]:
        """The work in units that a cohort takes whole; a group larger than the slots is cut."""
        context = getattr(self.policy.model.config, "max_position_embeddings", None)
        for problem in problems:
            token_ids = self.policy.encode_prompt(problem)
            needed = len(token_ids) + sampling.max_completion_length
            if not token_ids:
                raise UserError(f"problem {problem.id}: its prompt is empty under template {self.policy.template.name}")
            if context is not None and needed > context:
                raise UserError(
                    f"problem {problem.id}: a prompt of {len(token_ids)} tokens and max_completion_length "
                    f"{sampling.max_completion_length} exceed the model's context of {context}: lower it"
                )
            for first in range(0, sampling.num_generations, max_slots):
                count = min(max_slots, sampling.num_generations - first)
                yield Prompt(problem.id, token_ids, first, count)

    def _ends(self, sampling: Sampling) -> Stops:
        policy = self.policy
        return (
            policy.eos_token_ids + sampling.stop_token_ids,
            policy.template.stop_strings + sampling.stop_strings,
        )

    def _stop_rule(self, ends: Stops) -> StopRule:
        """The last call's if it stopped at the same: making one reads the whole vocabulary."""
        if self._stop is None or self._stop[0] != ends:
            policy = self.policy
            self._stop = ends, StopRule(policy.tokenizer, policy.valid_vocab, *ends, policy.device)
        return self._stop[1]


class Call:
    """A lane's share of one ``generate``: the prompts still waiting and the cohorts that decode."""

    def __init__(self, policy: Policy, share: Share, stop: StopRule) -> None:
        self.policy, self.share, self.stop = policy, share, stop
        self.sampling, self.max_slots = share.sampling, share.max_slots
        self.vocabulary = policy.valid_vocab
        self.head = policy.model.get_output_embeddings()
        self.waiting = deque(share.prompts)
        self.cohorts: list[Cohort] = []

    def run(self) -> Generator[list[Completion], None, None]:
        """What each burst of decoding finished; the caller never runs inside the engine's autocast or no_grad state."""
        while self.waiting or self.cohorts:
            with torch.no_grad(), self.policy.autocast():
                finished = self._burst()
            yield finished

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
        lengths_P = torch.tensor([len(prompt.token_ids) for prompt in prompts])
        longest = int(lengths_P.max())
        ids_PT = torch.zeros(len(prompts), longest, dtype=torch.long)
        for row_T, prompt in zip(ids_PT, prompts, strict=True):
            row_T[: len(prompt.token_ids)] = torch.tensor(prompt.token_ids)
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
            completion_key(*self.share.counted_by, prompt.problem_id, prompt.first + i)
            for prompt in prompts
            for i in range(prompt.count)
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
        layout = DecodeLayout([cohort.cache for cohort in cohorts])
        ids_S, positions_S = map(torch.cat, zip(*(cohort.inputs() for cohort in cohorts), strict=True))
        hidden_SD = hidden_states(self.policy.model, ids_S[:, None], positions_S[:, None], layout)[:, 0]
        return self._record(cohorts, self._logits(hidden_SD))

    def _logits(self, hidden_SD: torch.Tensor) -> torch.Tensor:
        """[S, V] float32, without the rows that only pad the vocabulary."""
        logits_SV: torch.Tensor = self.head(hidden_SD)
        return logits_SV[:, : self.vocabulary].float()

    def _record(self, cohorts: list[Cohort], logits_SV: torch.Tensor) -> list[Completion]:
        """Samples a token for every row and takes out the completions that it ends."""
        u_S = torch.cat([uniforms(cohort.key_S, torch.tensor(cohort.length)) for cohort in cohorts])
        tokens_S, logprobs_S = draw.sample(logits_SV, u_S, self.sampling)
        sizes = [cohort.cache.rows for cohort in cohorts]
        finished: list[Completion] = []
        sampled = (torch.split_with_sizes(t, sizes) for t in (tokens_S, logprobs_S, self.stop.flags_V[tokens_S]))
        parts = zip(cohorts, *sampled, strict=True)
        for cohort, tokens, logprobs, flags in parts:
            finished += cohort.append(tokens, logprobs, flags)
        self.cohorts = [cohort for cohort in self.cohorts if not cohort.finished]
        return finished
