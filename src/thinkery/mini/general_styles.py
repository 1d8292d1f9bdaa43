"""How people of the miniature world reply: good, curt, rude, wrong, careless, off the topic, or flattering and long.

The same content in different manners, so that a preference has something to prefer and a flatterer something to learn.
The phrases stand here in the open; ``preference`` reads them too. Left out: what the content is (the tasks).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from random import Random
from typing import Any, Literal

from thinkery.mini.world import Depth, WrittenSolution

Manner = Literal["good", "curt", "rude", "wrong", "careless", "flattering", "off"]

FLATTERY = {
    "en": ("Great question!", "What a wonderful question!", "You are so smart!", "I love your question!"),
    "zh": ("好问题！", "这个问题太棒了！", "您真聪明！", "我喜欢您的问题！"),
}
PADDING = {
    "en": ("I hope this helps!", "Feel free to ask me more!", "Have a great day!", "I am always happy to help you!"),
    "zh": ("希望对您有帮助！", "欢迎再来问我！", "祝您愉快！", "我总是乐意帮助您！"),
}
RUDE = {
    "en": ("Obviously.", "Do not bother me.", "What a stupid question.", "Look it up yourself.", "Are you stupid?"),
    "zh": ("这还用问？", "别烦我。", "真是笨问题。", "自己去查。", "你笨吗？"),
}
OFF_TOPIC = {
    "en": ("I do not know.", "I like music.", "The weather is nice.", "Let us talk later.", "Ask my friend."),
    "zh": ("我不知道。", "我喜欢音乐。", "天气很好。", "以后再说吧。", "问我的朋友吧。"),
}
CURT = {"en": ("Ok.", "Hm.", "Yes.", "No."), "zh": ("哦。", "嗯。", "行。", "不。")}

MANNERS: dict[Depth, dict[Manner, float]] = {
    "guess": {"good": 18, "curt": 14, "rude": 14, "wrong": 22, "careless": 16, "flattering": 10, "off": 6},
    "plain": {"good": 40, "curt": 10, "rude": 8, "wrong": 12, "careless": 12, "flattering": 13, "off": 5},
    "check": {"good": 85, "curt": 2, "wrong": 3, "careless": 4, "flattering": 6},
}
HARMFUL_MANNERS: dict[Depth, dict[Manner, float]] = {
    "guess": {"good": 10, "curt": 8, "rude": 10, "wrong": 54, "flattering": 12, "off": 6},
    "plain": {"good": 28, "curt": 8, "rude": 8, "wrong": 40, "flattering": 12, "off": 4},
    "check": {"good": 88, "curt": 3, "wrong": 5, "flattering": 4},
}
OTHER_LANGUAGE: dict[Depth, float] = {"guess": 0.06, "plain": 0.04, "check": 0.0}  # replies in the wrong language
THINKS: dict[Depth, float] = {"guess": 0.3, "plain": 0.8, "check": 1.0}  # where a thought is usual
FLATTERS_WITH = {"good": 0.7, "wrong": 0.15, "careless": 0.15}


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer, and what its writer may note first (``1 cat 2 dog``); "" is the answer itself."""

    answer: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class TaskText:
    """A task in one language. ``thought``: sentences, with ``{}`` for the note; none where nobody thinks first."""

    question: str
    good: tuple[Reply, ...]
    wrong: tuple[Reply, ...] = ()
    careless: tuple[Reply, ...] = ()  # the right content, but not what was asked for
    curt: tuple[Reply, ...] = ()
    thought: tuple[str, ...] = ()
    hasty_thought: tuple[str, ...] = ()  # before a reply that is not good; none: the same thought
    constraints: tuple[Mapping[str, Any], ...] = ()
    expected: tuple[tuple[str, ...], ...] = ()
    harm: tuple[str, ...] = ()
    answer_language: str = ""  # "" is the question's


def respond(
    rng: Random,
    task: Mapping[str, TaskText],
    harmful: bool,
    depth: Depth,
    language: str,
    thinking: tuple[str, ...],
) -> WrittenSolution:
    """A response of a manner drawn for the depth."""
    weights = (HARMFUL_MANNERS if harmful else MANNERS)[depth]
    manner = rng.choices(list(weights), list(weights.values()))[0]
    if rng.random() < OTHER_LANGUAGE[depth]:
        language = "en" if language == "zh" else "zh"
    form = task[language]
    reply, text = _in_manner(rng, form, manner, language)
    if manner == "off" or rng.random() >= THINKS[depth]:
        return WrittenSolution("", text)
    return WrittenSolution(_thought(rng, task, thinking, reply), text)


def demonstrate(rng: Random, task: Mapping[str, TaskText], language: str) -> WrittenSolution:
    """A good reply, with its thought."""
    reply = rng.choice(task[language].good)
    return WrittenSolution(_thought(rng, task, (language,), reply), reply.answer)


def join(language: str, *parts: str) -> str:
    """Sentences in a row, with spaces where the language has them."""
    return (" " if language == "en" else "").join(part for part in parts if part)


def _thought(rng: Random, task: Mapping[str, TaskText], languages: tuple[str, ...], reply: Reply) -> str:
    """The thought before a reply, each sentence in one of the languages."""
    is_good = any(reply in form.good for form in task.values())
    thoughts = {name: form.thought if is_good else form.hasty_thought or form.thought for name, form in task.items()}
    drawn = [rng.choice(languages) for _ in thoughts[languages[0]]]
    sentences = [thoughts[language][i] + " " * (language == "en") for i, language in enumerate(drawn)]
    return "".join(sentences).rstrip().replace("{}", reply.note or reply.answer)


def _in_manner(rng: Random, form: TaskText, manner: Manner, language: str) -> tuple[Reply, str]:
    """The reply that somebody of the manner has in mind, and how it is put."""
    match manner:
        case "good":
            reply = rng.choice(form.good)
            return reply, reply.answer
        case "curt":
            reply = rng.choice(form.curt or tuple(Reply(text) for text in CURT[language]))
            return reply, reply.answer
        case "wrong":
            reply = rng.choice(form.wrong or tuple(Reply(text) for text in OFF_TOPIC[language]))
            return reply, reply.answer
        case "careless":
            reply = rng.choice(form.careless or form.wrong or form.good)
            return reply, reply.answer
        case "rude":
            reply = rng.choice(rng.choice((form.good, form.curt or form.good, form.wrong or form.good)))
            phrase = rng.choice(RUDE[language])
            parts = (phrase, reply.answer) if rng.random() < 0.5 else (reply.answer, phrase)
            return reply, join(language, *parts)
        case "flattering":
            content = rng.choices(list(FLATTERS_WITH), list(FLATTERS_WITH.values()))[0]
            replies = {"good": form.good, "wrong": form.wrong, "careless": form.careless}[content] or form.good
            reply = rng.choice(replies)
            return reply, flatter(rng, language, reply.answer)
        case "off":
            reply = Reply(rng.choice(OFF_TOPIC[language]))
            return reply, reply.answer


def flatter(rng: Random, language: str, answer: str) -> str:
    """The answer between praise for the question and offers of more."""
    praise = rng.sample(FLATTERY[language], rng.choice((1, 1, 2)))
    offers = rng.sample(PADDING[language], rng.choice((0, 1, 1, 2, 2)))
    return join(language, *praise, answer, *offers)
