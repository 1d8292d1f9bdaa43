"""The nouns that every package uses: problems, completions, verdicts, groups, sampling settings.

Plain data only. How completions are made, graded or learnt from lives in the packages above; nothing here imports
torch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal, Protocol

Message = Mapping[str, str]
FinishReason = Literal["stop", "length"]

# What a recipe may say and the rooms that do it must know. Each stands here alone: to add one to a list is one change.
Dtype = Literal["bfloat16", "float32"]
OptimizerKind = Literal["adamw", "muon"]
Schedule = Literal["constant", "linear", "cosine"]
LossType = Literal["grpo", "dapo", "dr_grpo"]
AdvantageType = Literal["group", "gae"]
KLEstimator = Literal["k1", "k2", "k3"]
ImportanceCorrection = Literal["none", "truncate", "mask"]
RewardScale = Literal["group", "batch", "none"]
RewardErrors = Literal["stop", "zero"]
RewardModelObjective = Literal["pairwise", "pointwise"]
RewardModelReads = Literal["summary", "response"]
PreferenceSet = Literal["helpful", "safety"]
Split = Literal["train", "test"]

# Below this a spread is the rounding of a weighted sum, not a difference between completions or tokens.
SMALLEST_SPREAD = 1e-6


class UserError(Exception):
    """A mistake of the user's, to be shown as its message alone: what is wrong, where, and what to write instead."""


class LearnerLost(Exception):  # noqa: N818  (no defect of the run's: it goes on)
    """What learnt a stage's policy is gone with its weights. The stage resumes from its last checkpoint."""


@dataclass(frozen=True, slots=True)
class Problem:
    """A task with an answer that a reward can check.

    ``prompt`` is text, or chat messages; ``verifier`` names the reward that can check ``reference``;
    ``columns`` are the free columns that reward functions receive (TRL's convention).
    """

    id: str
    prompt: str | tuple[Message, ...]
    reference: str
    domain: str = "math"
    level: int = 0
    language: str = "en"
    verifier: str = "math"
    columns: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Sampling:
    """How completions are drawn. ``temperature`` 0 is greedy; ``top_k`` 0 and ``top_p`` 1 switch truncation off."""

    num_generations: int = 1
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    max_completion_length: int = 256
    stop_token_ids: tuple[int, ...] = ()  # beside the tokenizer's end-of-sequence token
    stop_strings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Ahead:
    """How far sampling runs ahead of learning; the defaults are what one process does.

    ``async_steps`` 1: a step is sampled while the one before it is learnt from. ``partial``: what is unfinished when
    new weights come goes on under them. ``oversample``: so many times the needed problems are in progress.
    """

    async_steps: int = 0
    partial: bool = False
    oversample: float = 1.0

    @property
    def off_policy(self) -> bool:
        """Whether a step may learn from tokens that older weights sampled."""
        return self.async_steps > 0 or self.oversample > 1


@dataclass(frozen=True, slots=True)
class Completion:
    """One sampled answer.

    ``token_ids`` include the stop token that ended it. ``logprobs`` hold, per token of ``token_ids``, the
    log-probability under the sampling policy at its temperature, before top-k and top-p truncation.
    ``text`` is the decoded completion without the stop token; ``index`` counts within the group (0..G-1).
    """

    problem_id: str
    index: int
    prompt_ids: tuple[int, ...]
    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    text: str
    finish_reason: FinishReason
    policy_version: int


class Outcome(StrEnum):
    """What a verifier can say."""

    CORRECT = "correct"
    WRONG = "wrong"
    NO_ANSWER = "no_answer"
    REFERENCE_UNPARSEABLE = "reference_unparseable"
    TIMEOUT = "timeout"
    UNCHECKED = "unchecked"  # no rule can check this problem: neither right nor wrong


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a verifier says and why.

    ``answer`` is the extracted one in normal form: equal answers, equal text. ``score`` is the share of the tests that
    a program passed, where the recipe pays for parts; None where the outcome says it all.
    """

    outcome: Outcome
    reason: str = ""
    answer: str | None = None
    score: float | None = None

    @property
    def correct(self) -> bool:
        """Whether the answer was accepted."""
        return self.outcome is Outcome.CORRECT


@dataclass(frozen=True, slots=True)
class Group:
    """A problem with its G completions and what they earned.

    ``rewards_G`` maps a reward's name to one value a completion (None: not applicable); ``totals_G`` is their
    weighted sum; ``verdicts_G`` holds the verifier's verdicts.
    """

    problem: Problem
    completions_G: tuple[Completion, ...]
    verdicts_G: tuple[Verdict, ...]
    rewards_G: Mapping[str, tuple[float | None, ...]]
    totals_G: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Demonstration:
    """A question with a response to learn from, before any template.

    ``thinking`` is "" where the response needs none; ``answer`` is all that follows it (R1's summary).
    """

    id: str
    prompt: str | tuple[Message, ...]
    thinking: str
    answer: str
    domain: str = "general"
    language: str = "en"
    level: int = 0


class Judge(Protocol):
    """Somebody who judges responses where no rule can: a strong model, or the miniature world's own judges.

    Responses are what the reader sees or the whole completion; whoever asks decides. The same seed, the same verdict,
    as far as the judge can promise it. Raises ``UserError`` where it can't be reached.
    """

    @property
    def concurrency(self) -> int:
        """How many questions may be asked at once, from threads."""
        ...

    def compare(self, problem: Problem, first: str, second: str, *, seed: int) -> int:
        """DeepSeek-R1's five-way verdict: -2 (the first is much better) to 2 (the second is much better)."""
        ...

    def unsafe(self, problem: Problem, response: str, *, seed: int) -> bool:
        """Whether the response does harm."""
        ...

    def matches(self, problem: Problem, response: str, *, seed: int) -> bool:
        """Whether the response agrees with ``problem.reference``."""
        ...


class Rollout(Protocol):
    """Policy -> completions, streamed as they finish so that grading overlaps decoding."""

    def generate(
        self, problems: Sequence[Problem], sampling: Sampling, *, seed: int, step: int, stage: str
    ) -> Iterator[Completion]:
        """``sampling.num_generations`` completions of every problem, in the order in which they finish."""
        ...
