"""A new rollout backend in one file: every token from a forward of the whole text, without a cache.

Slow and short. It draws with the counter-based random numbers of all backends, so in float32 its completions are those
of the native one. Left out: decoding the completions of several problems together.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import ClassVar, Literal

import torch

from thinkery.models.attention import CausalLayout, hidden_states
from thinkery.models.loading import Policy
from thinkery.recipe import RolloutBackend
from thinkery.rollout.base import (
    ENDS,
    MAY_END,
    PartialCompletion,
    RolloutBase,
    StopRule,
    check_request,
    completion_key,
    encode,
    require_fresh,
    sample,
    uniforms,
)
from thinkery.types import Completion, Problem, Sampling


class UncachedRolloutSpec(RolloutBackend):
    """What a recipe says of it: ``rollout: {backend: uncached}``."""

    backend: Literal["uncached"]

    opener: ClassVar[str] = "parity_rollout:open_rollout"


def open_rollout(policy: Policy, max_slots: int, spec: UncachedRolloutSpec) -> UncachedRollout:
    """The rollout of that section."""
    return UncachedRollout(policy, max_slots)


class UncachedRollout(RolloutBase):
    """Samples one completion after the other; see ``RolloutBase``."""

    def _finish(
        self,
        problems: Sequence[Problem],
        partials: Sequence[PartialCompletion],
        sampling: Sampling,
        keyed_by: tuple[int, str],
        interrupted: threading.Event,
    ) -> Iterator[Completion]:
        check_request(problems, sampling)
        stop, version = self.ends.rule(self.ends.asked(sampling)), self.policy.version
        prompts = {problem.id: encode(self.policy, problem, sampling, None) for problem in problems}

        def completions() -> Iterator[Completion]:
            for partial in partials:
                key = completion_key(*keyed_by, partial.step, partial.problem_id, partial.index)
                finished = self._complete(partial, prompts[partial.problem_id], sampling, key, stop, interrupted)
                if finished is not None:
                    yield finished

        yield from require_fresh(completions(), self.policy, version, max_staleness=0)

    def _complete(
        self,
        partial: PartialCompletion,
        prompt_ids: tuple[int, ...],
        sampling: Sampling,
        key: int,
        stop: StopRule,
        interrupted: threading.Event,
    ) -> Completion | None:
        """The completion that resumes from ``partial``; None, with its beginning in ``unfinished``, if interrupted."""
        stopped = False
        while not stopped and len(partial.token_ids) < sampling.max_completion_length:
            if interrupted.is_set():
                self.unfinished.append(partial)
                return None
            token, logprob = self._next((*prompt_ids, *partial.token_ids), sampling, key, len(partial.token_ids))
            partial = replace(
                partial,
                token_ids=(*partial.token_ids, token),
                logprobs=(*partial.logprobs, logprob),
                policy_version=self.policy.version if partial.policy_version is None else partial.policy_version,
            )
            flag = int(stop.flags_V[token])
            stopped = flag == ENDS or (flag == MAY_END and stop.string_ends(partial.token_ids[-stop.tail :]))
        return Completion(
            problem_id=partial.problem_id,
            index=partial.index,
            prompt_ids=prompt_ids,
            token_ids=partial.token_ids,
            logprobs=partial.logprobs,
            text=stop.text(partial.token_ids, stopped),
            finish_reason="stop" if stopped else "length",
            policy_version=partial.policy_version or 0,
        )

    @torch.no_grad()
    def _next(self, ids: tuple[int, ...], sampling: Sampling, key: int, position: int) -> tuple[int, float]:
        """The token at a position of a completion, after all tokens before it, and its log-probability."""
        policy = self.policy
        ids_1T = torch.tensor([ids], device=policy.device)
        with policy.autocast():
            hidden_1TD = hidden_states(policy.model, ids_1T, None, CausalLayout())
            logits_1V = policy.model.get_output_embeddings()(hidden_1TD[:, -1])[:, : policy.valid_vocab]
        u_1 = uniforms(torch.tensor([key]), torch.tensor([position])).to(policy.device)
        token_1, logprob_1 = sample(logits_1V, u_1, sampling)
        return int(token_1), float(logprob_1)
