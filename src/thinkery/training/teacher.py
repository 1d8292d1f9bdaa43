"""On-policy distillation: a teacher gives every token that the student itself sampled an advantage.

The student minimises the reverse KL divergence to the teacher on its own samples (Agarwal et al., "On-policy
distillation of language models", arXiv 2306.13649, GKD with lambda = 1; Gu et al., "MiniLLM", arXiv 2306.08543). Token
t, drawn by the student, tells of it by

    kl_t = log pi_student(o_t) - log pi_teacher(o_t),

whose mean over samples is the divergence at t, and whose policy gradient is that of an advantage of ``-kl_t``. Each
token answers for its own divergence alone (a discount of 0, MiniLLM's single-step term): the states that it leads to
are the next tokens' affair. Both distributions are taken at the temperature of the samples.

The teacher is frozen and is forwarded once a step, in microbatches. Left out: a forward KL, which needs the teacher's
whole distribution; teachers of another tokenizer; distillation from texts that a teacher wrote, which is SFT.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from thinkery.machine.cpu_workers import CpuWorkers, workers_on
from thinkery.models.loading import Policy
from thinkery.training.backend import frozen
from thinkery.training.forward import packed_logprobs
from thinkery.training.learner import Sample
from thinkery.training.packing import pack, sizes_of, split_microbatches


class Teacher:
    """A frozen policy that says how likely it would have been to write what the student wrote.

    ``weight`` multiplies the divergence; ``temperature`` is the one that samples were drawn at; ``microbatch_tokens``
    bounds the memory of a forward. The caller has seen to it that student and teacher share a tokenizer.
    """

    def __init__(self, policy: Policy, *, weight: float, temperature: float, microbatch_tokens: int) -> None:
        policy.model.requires_grad_(False)
        self._policy, self._weight = policy, weight
        self._workers = CpuWorkers(workers_on(policy.device))
        self._temperature, self._microbatch_tokens = temperature, microbatch_tokens

    def add_advantages(self, samples: Sequence[Sample]) -> tuple[list[Sample], dict[str, float]]:
        """The samples with ``-weight * kl_t`` added to their advantages, token by token.

        The student's log-probabilities are those that the samples were drawn by. Metric: ``teacher_kl``, the mean of
        kl_t over all tokens, in nats.
        """
        logprobs = self.logprobs(samples)
        divergences = [
            [ours - theirs for ours, theirs in zip(sample.rollout_logprobs, logprobs_T, strict=True)]
            for sample, logprobs_T in zip(samples, logprobs, strict=True)
        ]
        taught = [
            replace(
                sample,
                advantage=tuple(a - self._weight * kl for a, kl in zip(sample.advantages, kl_T, strict=True)),
            )
            for sample, kl_T in zip(samples, divergences, strict=True)
        ]
        tokens = sum(map(len, divergences))
        return taught, {"teacher_kl": sum(map(sum, divergences)) / tokens if tokens else 0.0}

    def logprobs(self, samples: Sequence[Sample]) -> list[list[float]]:
        """The teacher's log-probability of every completion token, one list a sample."""

        def run(indices: list[int]) -> list[tuple[int, list[float]]]:
            microbatch = pack(samples, indices, self._policy.device)
            logp_N, _ = packed_logprobs(self._policy, self._policy.model, microbatch, self._temperature)
            parts = logp_N.cpu().split(microbatch.lengths_S.tolist())
            return [(index, part.tolist()) for index, part in zip(microbatch.indices, parts, strict=True)]

        subsets = split_microbatches(samples, range(len(samples)), self._microbatch_tokens, self._workers.count)
        done = frozen(self._workers, run, subsets, sizes_of(samples, subsets))
        known = dict(pair for pairs in done for pair in pairs)
        return [known[index] for index in range(len(samples))]
