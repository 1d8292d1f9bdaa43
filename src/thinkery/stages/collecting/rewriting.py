"""Who rewrites kept samples into readable demonstrations: rules, a phrase table, or a model behind an endpoint.

Left out: the policy rewriting its own samples after examples (``few_shot_rewriter.py``), and the second look at what
was rewritten (``filters.py``).
"""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Sequence
from typing import Protocol

from thinkery.models.loading import Policy
from thinkery.plugins import load, registered
from thinkery.recipe import CollectStage, JudgeSpec, ReadableSpec, RefineSpec
from thinkery.rewards.answers.statements import is_prose
from thinkery.rewards.judges import Endpoint
from thinkery.stages.collecting.few_shot_rewriter import FewShotRewriter
from thinkery.stages.collecting.filters import FENCES, native_share
from thinkery.stages.collecting.samples import CollectedSample, Reason
from thinkery.stages.context import StageContext
from thinkery.stages.pairs import at_once
from thinkery.types import Problem, UserError

STATEMENTS = {"en": "The answer is {a}.", "zh": "答案是{a}。"}
SENTENCES = ("math", "choice")  # the verifiers that read sentences; others may want the very words
LONGEST_OPTION = 60  # characters

_TAG = re.compile(r"</?(?:think|answer)>|<\|[^|<>\n]{1,40}\|>")
_INNER_SPACE = re.compile(r"(?<=\S)[ \t]{2,}(?=\S)")
_END_SPACE = re.compile(r"[ \t]+$", re.MULTILINE)
_EMPTY_LINES = re.compile(r"\n{3,}")
_SENTENCE = re.compile(r".+?(?:[.!?]+(?=\s|$)|[。！？]+|\n+|$)[ \t]*", re.DOTALL)
_FIRST_WORD = re.compile(r"(?!(?:def|class|import|return|print)\b)[a-z][a-z']+(?=[\s,])|i(?=[\s'])")
_SENTENCE_ENDS = (".", "!", "?", "。", "！", "？", ":", "：", "…", *FENCES)


def tidy(thinking: str, language: str) -> str:
    """The thinking in good order."""
    text = _TAG.sub(" ", thinking).strip()
    text = _INNER_SPACE.sub(" ", text)
    text = _EMPTY_LINES.sub("\n\n", _END_SPACE.sub("", text))
    text = _said_once(text)
    if language == "en" and (match := _FIRST_WORD.match(text)):
        text = match[0].capitalize() + text[match.end() :]
    stop, other = ("。", ".") if language in ("zh", "ja") else (".", "。")
    text = text.removesuffix(other)
    return text if not text or text.endswith(_SENTENCE_ENDS) else text + stop


def summarize(problem: Problem, answer: str) -> str:
    """What the reader is told after the thinking."""
    answer = answer.strip()
    if problem.verifier == "code":
        return answer if any(fence in answer for fence in FENCES) else f"{_fence(problem)}\n{answer}\n```"
    statement = STATEMENTS.get(problem.language)
    if problem.verifier not in SENTENCES or statement is None or "\n" in answer or is_prose(answer):
        return answer
    if problem.verifier == "choice":
        return statement.format(a=_with_its_text(problem, answer))
    return statement.format(a=f"${answer}$" if "\\" in answer and "$" not in answer else answer)


def _with_its_text(problem: Problem, letter: str) -> str:
    """``B, gold``: a letter with the option that it stands for, where the problem lists short ones."""
    choices = problem.columns.get("choices")
    number = string.ascii_uppercase.find(letter) if len(letter) == 1 else -1
    if not isinstance(choices, list) or not 0 <= number < len(choices) or len(str(choices[number])) > LONGEST_OPTION:
        return letter
    return f"{letter}{'，' if problem.language == 'zh' else ', '}{choices[number]}"


def _said_once(text: str) -> str:
    """Without the sentences that only repeat the one before."""
    sentences = _SENTENCE.findall(text)
    kept = [one for i, one in enumerate(sentences) if not one.strip() or i == 0 or not _same(one, sentences[i - 1])]
    return "".join(kept).rstrip()


def _same(one: str, other: str) -> bool:
    return one.split() == other.split()


def _fence(problem: Problem) -> str:
    language = problem.columns.get("language") or "python"
    return f"```{language}" if isinstance(language, str) else "```"


_THOUGHT = re.compile(r"\A.*</think>", re.DOTALL)  # of a model that thinks aloud


class EndpointClient:
    """Asks an endpoint about samples; the random numbers are the samples' own. ``tell`` hears of its outages."""

    def __init__(self, spec: JudgeSpec, seed: int, stage: str, tell: Callable[[str], None]) -> None:
        self._endpoint = Endpoint(spec, tell)
        self._concurrency, self._seed, self._stage = spec.concurrency, seed, stage

    def ask(self, samples: Sequence[CollectedSample], questions: Sequence[str]) -> list[str]:
        """The reply to every question. Raises ``UserError`` where the endpoint can't be reached."""
        seeds = [sample.seed(self._seed, self._stage) for sample in samples]
        return [_THOUGHT.sub("", reply) for reply in at_once(self._concurrency, self._endpoint.chat, questions, seeds)]


LANGUAGES = {
    "en": "English",
    "zh": "Chinese",
    "fr": "French",
    "de": "German",
    "es": "Spanish",
    "ja": "Japanese",
    "ru": "Russian",
}

REFINE = """\
Below are a question and a draft of its solution. Rewrite the draft so that a reader can follow it with ease.

- Write in {language}, in the first person, in calm sentences as one thinks aloud: first understand what is asked, \
then reason step by step, then reflect on the result or verify it.
- Keep the draft's steps, results and corrections. Don't solve the question in another way, and don't change the answer.
- No headings, no lists of bullets, no code blocks, no long paragraphs.
- Then write a summary for a reader who doesn't see the reasoning: how the answer comes about, and the final answer in \
the draft's own form. It holds no step and no number that isn't in the reasoning.

Reply with nothing but:
<reasoning>
the reasoning
</reasoning>
<summary>
the summary
</summary>

Question:
{question}

Draft:
{thinking}

Answer of the draft:
{answer}
"""
TRANSLATE = """\
Translate this reasoning into {language}. Keep every step, number, formula and line of code as it is. Reply with \
nothing but the translation, between <reasoning> and </reasoning>.

{thinking}
"""
_REASONING = re.compile(r"<reasoning>(.*?)</reasoning>", re.DOTALL)
_SUMMARY = re.compile(r"<summary>(.*?)</summary>", re.DOTALL)


class EndpointRewriter:
    """A strong model refines reasoning and summary."""

    def __init__(self, asker: EndpointClient) -> None:
        self._asker = asker

    def refine(self, samples: Sequence[CollectedSample], step: int) -> list[CollectedSample]:
        """The samples rewritten, or dropped where the reply is not as it was asked for."""
        questions = [
            REFINE.format(
                language=_name(sample.problem.language),
                question=sample.question,
                thinking=sample.thinking.strip(),
                answer=sample.answer,
            )
            for sample in samples
        ]
        return [
            _read(sample, reply) for sample, reply in zip(samples, self._asker.ask(samples, questions), strict=True)
        ]


class EndpointTranslator:
    """A strong model translates thinking."""

    def __init__(self, asker: EndpointClient) -> None:
        self._asker = asker

    def translate(self, samples: Sequence[CollectedSample]) -> list[CollectedSample]:
        """The samples with their thinking in the question's language, or dropped."""
        questions = [
            TRANSLATE.format(language=_name(sample.problem.language), thinking=sample.thinking.strip())
            for sample in samples
        ]
        translated = []
        for sample, reply in zip(samples, self._asker.ask(samples, questions), strict=True):
            found = _REASONING.search(reply)
            if found is None:
                translated.append(sample.settled(Reason.LANGUAGE, f"the translation has no <reasoning>: {reply[:200]}"))
            else:
                translated.append(sample.rewrite(found[1].strip(), sample.answer))
        return translated


def _read(sample: CollectedSample, reply: str) -> CollectedSample:
    reasoning, summary = _REASONING.search(reply), _SUMMARY.search(reply)
    if reasoning is None or summary is None or not summary[1].strip():
        return sample.settled(Reason.UNREFINED, f"the reply has no <reasoning> and <summary>: {reply[:200]}")
    return sample.rewrite(reasoning[1].strip(), summary[1].strip())


def _name(language: str) -> str:
    return LANGUAGES.get(language, f"the language with the code {language}")


class Translator(Protocol):
    """What a package registers in ``thinkery.translators``: its own problems' thinking, in another language."""

    def covers(self, problem: Problem) -> bool:
        """Whether it knows how people write about this problem."""
        ...

    def translate(self, text: str, language: str) -> str | None:
        """The text in ``language``; None if not all of it can be translated."""
        ...


def _translator_of(problem: Problem) -> Translator | None:
    translators: list[Translator] = [load("translators", name) for name in registered("translators")]
    return next((one for one in translators if one.covers(problem)), None)


class Refiner(Protocol):
    """Rewrites samples. Each comes back with other words, or settled with why it can't."""

    def refine(self, samples: Sequence[CollectedSample], step: int) -> list[CollectedSample]:
        """The samples in their order; ``step`` is the batch, which seeds the random numbers."""
        ...


def open_refiner(
    stage: CollectStage, policy: Policy, problems: Sequence[Problem], context: StageContext
) -> Refiner | None:
    """The stage's refiner, if it has one. Raises ``UserError`` for what it can't do with these problems."""
    spec, seed = stage.refine, context.seed
    if spec is None:
        return None
    where = f"{stage.name}.refine"
    if spec.translate and stage.readable.min_language is None:
        raise UserError(f"{where}.translate: set readable.min_language, below which thinking is translated")
    if spec.by == "few-shot":
        rollout = context.runtime.rollout(policy, max_slots=stage.max_slots, spec=stage.rollout)
        return FewShotRewriter(stage, policy, rollout, seed)
    asker = None
    if spec.endpoint is not None:
        asker = EndpointClient(_endpoint(where, spec.endpoint), seed, stage.name, context.view.note)
    if spec.by == "endpoint":
        assert asker is not None  # the recipe refuses it without
        return EndpointRewriter(asker)
    other = next((problem for problem in problems if _translator_of(problem) is None), None)
    if spec.translate and asker is None and other is not None:
        raise UserError(
            f"{where}.translate: no installed translator knows the problem {other.id} (those that are installed: "
            f"{', '.join(registered('translators'))}); name an endpoint: {{source: http://host/v1, model: m}}"
        )
    return RuleRefiner(spec, stage.readable, asker)


class RuleRefiner:
    """Tidies thinking and writes summaries by rule; what is in another language is translated first."""

    def __init__(self, spec: RefineSpec, readable: ReadableSpec, asker: EndpointClient | None) -> None:
        self._translate, self._readable = spec.translate, readable
        self._translator = EndpointTranslator(asker) if asker is not None else None

    def refine(self, samples: Sequence[CollectedSample], step: int) -> list[CollectedSample]:
        """The samples tidied, or dropped where their thinking can't be translated whole."""
        if self._translate:
            foreign = [
                sample
                for sample in samples
                if native_share(self._readable, sample.thinking, sample.problem.language) is not None
            ]
            translate = _by_phrases if self._translator is None else self._translator.translate
            translated = {(sample.problem.id, sample.index): sample for sample in translate(foreign)}
            samples = [translated.get((sample.problem.id, sample.index), sample) for sample in samples]
        return [sample if sample.reason is not None else _by_rule(sample) for sample in samples]


def _by_rule(sample: CollectedSample) -> CollectedSample:
    problem = sample.problem
    return sample.rewrite(tidy(sample.thinking, problem.language), summarize(problem, sample.answer))


def _by_phrases(samples: Sequence[CollectedSample]) -> list[CollectedSample]:
    translated = []
    for sample in samples:
        translator = _translator_of(sample.problem)
        assert translator is not None  # ``open_refiner`` has looked
        text = translator.translate(sample.thinking, sample.problem.language)
        if text is None:
            translated.append(sample.settled(Reason.LANGUAGE, "not all of its phrases can be translated"))
        else:
            translated.append(sample.rewrite(text, sample.answer))
    return translated


def _endpoint(where: str, spec: JudgeSpec) -> JudgeSpec:
    if not spec.source.startswith("http"):
        raise UserError(f"{where}.endpoint.source = {spec.source!r}: only an endpoint can write, http://host/v1")
    return spec
