"""What the rewards and verifiers of this room agree on. No algorithm lives here.

A *verifier* turns one completion into a Verdict, as soon as the completion has finished. A *reward* turns a whole
batch of completions, with their verdicts among the columns, into numbers. Left out: their names (``registry``).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from thinkery.models.template import ANSWER, END_ANSWER, END_THINK, THINK, Template
from thinkery.recipe.verification import Verification
from thinkery.types import Message, Problem, Verdict

Prompt = str | Sequence[Message]
ModelText = str | Sequence[Message]  # TRL gives messages where the prompt was messages
Values = list[float | None]


class Reward(Protocol):
    """TRL's reward function, sync or async.

    Columns are lists, one item per completion: ``reference``, ``verdict``, ``problem_id``, ``domain``, ``level``,
    ``language``, and the problem's own.
    """

    def __call__(
        self,
        prompts: Sequence[Prompt],
        completions: Sequence[ModelText],
        completion_ids: Sequence[Sequence[int]],
        **columns: Sequence[Any],
    ) -> Values | Awaitable[Values]:
        """One value per completion; None where the reward does not apply."""
        ...


class PendingVerdict(Protocol):
    """A verdict that a worker is still thinking about."""

    def result(self, timeout: float | None = None) -> Verdict:
        """Waits for it, at most ``timeout`` seconds; what is missing then is the verdict ``timeout``, no error."""
        ...


class Verifier(Protocol):
    """Judges completions of one template. Not thread-safe."""

    def begin(self, completion: str, problem: Problem) -> Verdict | PendingVerdict:
        """Begins to judge a completion (thinking included); never waits."""
        ...

    def gold(self, problem: Problem) -> str | None:
        """A completion that must be accepted, or None if the problem holds nothing to make one from."""
        ...

    def close(self) -> None:
        """Ends the processes that it started."""
        ...


@dataclass(frozen=True, slots=True)
class RewardContext:
    """What a reward may depend on beside its own options."""

    template: Template
    max_completion_length: int  # tokens


RewardFactory = Callable[..., Reward]  # f(context, **options): options are the recipe's, checked against the signature
VerifierFactory = Callable[[Template, Verification], Verifier]


def gold_completion(template: Template, answer: str, *, boxed: bool = True) -> str:
    """A perfect completion of ``template`` that gives ``answer``."""
    opening = "" if template.prefilled_think else THINK
    plain = f"\\boxed{{{answer}}}" if boxed else answer
    return f"{opening}\nI know it.\n{END_THINK}\n{f'{ANSWER}{answer}{END_ANSWER}' if template.answer_tag else plain}"


def text_of(text: ModelText) -> str:
    """A completion's text, whether TRL gave it as text or as messages."""
    return text if isinstance(text, str) else text[-1]["content"]
