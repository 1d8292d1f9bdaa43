"""Samples rewritten, or translated, by a strong model behind an OpenAI-compatible endpoint.

DeepSeek-R1's cold start has a strong model refine reasoning and summary: first person, understand, reason, then reflect
or verify; thinking in another language becomes the question's; the summary adds no step, which is checked by its
numbers. Left out: whether the answer is still right, which is looked at again (``verifying``).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from thinkery.stages.collecting.asking import Asker
from thinkery.stages.collecting.samples import Reason, Sample

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

    def __init__(self, asker: Asker) -> None:
        self._asker = asker

    def refine(self, samples: Sequence[Sample], step: int) -> list[Sample]:
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

    def __init__(self, asker: Asker) -> None:
        self._asker = asker

    def translate(self, samples: Sequence[Sample]) -> list[Sample]:
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


def _read(sample: Sample, reply: str) -> Sample:
    reasoning, summary = _REASONING.search(reply), _SUMMARY.search(reply)
    if reasoning is None or summary is None or not summary[1].strip():
        return sample.settled(Reason.UNREFINED, f"the reply has no <reasoning> and <summary>: {reply[:200]}")
    return sample.rewrite(reasoning[1].strip(), summary[1].strip())


def _name(language: str) -> str:
    return LANGUAGES.get(language, f"the language with the code {language}")
