"""Samples rewritten by the policy that made them, after a few examples of good rewriting.

DeepSeek-R1's cold start: a few traces rewritten by people in a conversational manner seed the rewriting of the rest.
The examples are turns of a conversation in the policy's own template, so the rewrite comes as any completion does.
Left out: whether it still gives the right answer, which is looked at again (``verifying``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from thinkery.models.loading import Policy
from thinkery.models.template import THINK
from thinkery.recipe import CollectStage
from thinkery.stages.collecting.samples import CollectedSample, Reason
from thinkery.types import Message, Problem, Rollout, Sampling, UserError


@dataclass(frozen=True, slots=True)
class RewritingExample:
    """A rewriting to be imitated."""

    question: str
    draft: str
    thinking: str
    answer: str


ASK = {"en": "Write this draft again so that it reads well:", "zh": "请把下面的草稿改写得通顺易读："}
EXAMPLES: Mapping[str, tuple[RewritingExample, ...]] = {
    "en": (
        RewritingExample(
            "A box holds 12 pens. How many pens are in 5 boxes?",
            "12*5 , 10*5=50, 2*5=10 ,so 60 check 60/5=12 ok",
            "I need the pens in 5 boxes of 12. I take the product apart: 10*5=50 and 2*5=10. Together 50+10=60. "
            "Let me check: 60/5=12, which is right.",
            "The answer is 60.",
        ),
        RewritingExample(
            "Find x if 3*x+4=19.",
            "19-4=15 then 15/3=6. wait 5. 3*5+4=19 good",
            "I look for the x that makes 3*x+4 equal 19. First 19-4=15. Then 15/3=6. Wait, 3*6=18, so 15/3=5. "
            "Let me check: 3*5=15 and 15+4=19. Good.",
            "The answer is 5.",
        ),
    ),
    "zh": (
        RewritingExample(
            "每盒12支笔，5盒一共有多少支笔？",
            "12*5 ,10*5=50 2*5=10 所以60 检查60/5=12",
            "我要求5盒笔的总数，每盒12支。先把乘积拆开：10*5=50，2*5=10，合起来50+10=60。检查一下：60/5=12，没错。",
            "答案是60。",
        ),
        RewritingExample(
            "已知3*x+4=19，求x。",
            "19-4=15 15/3=6 不对 5 3*5+4=19",
            "我要找出使3*x+4等于19的x。先算19-4=15，再算15/3=6。等等，3*6=18，所以15/3=5。检查：3*5=15，15+4=19，没错。",
            "答案是5。",
        ),
    ),
}


class FewShotRewriter:
    """The sampled policy rewrites its own samples, shown how by a few rewritten ones."""

    def __init__(self, stage: CollectStage, policy: Policy, rollout: Rollout, seed: int) -> None:
        self._stage, self._policy, self._rollout, self._seed = stage, policy, rollout, seed
        self._context: int | None = getattr(policy.model.config, "max_position_embeddings", None)
        for language in EXAMPLES:
            needed = self._tokens(self.messages(language, "", "", ""))
            if self._context is not None and needed > self._context:
                raise UserError(
                    f"{stage.name}.refine.by: the few-shot examples and max_completion_length take {needed} tokens, "
                    f"the model's context has {self._context}: lower max_completion_length, or write by: rules"
                )

    def refine(self, samples: Sequence[CollectedSample], step: int) -> list[CollectedSample]:
        """The samples rewritten, or dropped with what was wrong with the rewrite."""
        prompts: dict[str, Problem] = {}
        for sample in samples:
            question = sample.question
            messages = self.messages(sample.problem.language, question, sample.thinking, sample.answer)
            if self._context is None or self._tokens(messages) <= self._context:
                identity = f"{sample.problem.id}#{sample.index}"
                prompts[identity] = Problem(identity, messages, sample.problem.reference)
        sampling = Sampling(
            temperature=self._stage.temperature,
            top_p=self._stage.top_p,
            max_completion_length=self._stage.max_completion_length,
        )
        completions = self._rollout.generate(
            list(prompts.values()), sampling, seed=self._seed, step=step, stage=f"{self._stage.name}/refine"
        )
        written = {completion.problem_id: completion for completion in completions}
        rewritten = []
        for sample in samples:
            completion = written.get(f"{sample.problem.id}#{sample.index}")
            if completion is None:
                rewritten.append(sample.settled(Reason.UNREFINED, "no room for it in the model's context"))
                continue
            parsed = self._policy.template.parse(completion.text)
            if completion.finish_reason != "stop" or not parsed.well_formed:
                rewritten.append(sample.settled(Reason.UNREFINED, f"the rewrite is not well formed: {completion.text}"))
            else:
                rewritten.append(sample.rewrite((parsed.thinking or "").strip(), parsed.answer or ""))
        return rewritten

    def messages(self, language: str, question: str, thinking: str, answer: str) -> tuple[Message, ...]:
        """The conversation that shows the examples and asks for one more."""
        template = self._policy.template
        opening = THINK if template.prefilled_think else ""
        turns: list[Message] = []
        ask = ASK.get(language, ASK["en"])
        for example in EXAMPLES.get(language, EXAMPLES["en"]):
            turns.append({"role": "user", "content": f"{example.question}\n{ask}\n{example.draft}"})
            reply = opening + template.write(example.thinking, example.answer)
            turns.append({"role": "assistant", "content": reply.strip()})
        turns.append({"role": "user", "content": f"{question}\n{ask}\n{thinking.strip()} {answer}".rstrip()})
        return tuple(turns)

    def _tokens(self, messages: tuple[Message, ...]) -> int:
        """Tokens of the prompt and of the longest reply."""
        return len(self._policy.encode_prompt(Problem("", messages, ""))) + self._stage.max_completion_length
