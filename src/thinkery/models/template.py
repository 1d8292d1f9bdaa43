"""The template: how a problem becomes a prompt and a completion is read, as one object kept with the checkpoint.

Training, rollout, evaluation and serving all use it, so none of them can disagree about where the thinking ends.
It is stored beside the weights twice: as the tokenizer's own chat template (for transformers and vLLM) and as
``thinkery_template.json`` (for what a chat template cannot say). Left out: tools and images.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from pathlib import Path

import jinja2
from jinja2.sandbox import ImmutableSandboxedEnvironment

from thinkery.types import Message, UserError

FILE_NAME = "thinkery_template.json"
THINK, END_THINK, ANSWER, END_ANSWER = "<think>", "</think>", "<answer>", "</answer>"
TAGS = (THINK, END_THINK, ANSWER, END_ANSWER)


@dataclass(frozen=True)
class Parsed:
    """A completion read by its template. ``answer`` follows the thinking, inside the answer tag if there is one."""

    thinking: str | None
    answer: str | None
    well_formed: bool


@dataclass(frozen=True)
class Template:
    """A chat template with thinking.

    ``chat_template`` is jinja over ``messages`` and ends where the model starts writing. ``prefilled_think`` says that
    it already opened ``<think>``, so completions start inside the thinking. ``answer_tag`` says that the answer is
    enclosed in ``<answer>`` (R1-Zero); without it everything after ``</think>`` is the answer (R1's summary).
    ``optional_thinking`` accepts thinking without anything in it, as R1's own answer to "hello".
    """

    name: str
    chat_template: str
    prefilled_think: bool = False
    answer_tag: bool = True
    stop_strings: tuple[str, ...] = ()
    optional_thinking: bool = False

    def __getstate__(self) -> dict[str, object]:
        """Without what was compiled from it, which can't be pickled."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @cached_property
    def _compiled(self) -> jinja2.Template:
        environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
        return environment.from_string(self.chat_template)

    def render(self, prompt: str | Sequence[Message]) -> str:
        """The prompt's whole text, to be tokenised without further special tokens."""
        messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else list(prompt)
        return self._compiled.render(messages=messages, add_generation_prompt=True)

    def parse(self, completion: str) -> Parsed:
        """Reads a completion, whether ``<think>`` was pre-filled, repeated by the model all the same, or its own."""
        text = completion
        if self.prefilled_think and not text.lstrip().startswith(THINK):
            text = THINK + text
        before, opened, rest = text.partition(THINK)
        if not opened:  # no thinking was opened: a mismatched end tag still separates what a reader would separate
            before, rest = "", text
        thinking, closed, after = rest.partition(END_THINK)
        if not closed:
            return Parsed(thinking if opened else None, None, well_formed=False)
        answer, answer_formed = self._answer(after)
        once = all(text.count(tag) == (1 if self.answer_tag or tag in (THINK, END_THINK) else 0) for tag in TAGS)
        thought = self.optional_thinking or bool(thinking.strip())
        well_formed = bool(opened) and not before.strip() and thought and once and answer_formed
        return Parsed(thinking, answer, well_formed)

    def _answer(self, after: str) -> tuple[str | None, bool]:
        """The answer in what follows the thinking, and whether nothing stands around it."""
        if not self.answer_tag:
            return after.strip() or None, bool(after.strip())
        lead, opened, rest = after.partition(ANSWER)
        inside, closed, tail = rest.partition(END_ANSWER)
        if not opened or not closed:
            return None, False
        return inside.strip() or None, bool(inside.strip()) and not lead.strip() and not tail.strip()

    def write(self, thinking: str, answer: str) -> str:
        """The completion that ``parse`` reads as this thinking and this answer, without the token that ends it."""
        opening = "" if self.prefilled_think else f" {THINK}"
        enclosed = f"{ANSWER}{answer}{END_ANSWER}" if self.answer_tag else answer
        return f"{opening}{thinking}{END_THINK}{enclosed}"

    def save(self, folder: Path) -> None:
        """Writes the template beside a checkpoint, atomically."""
        temporary = folder / (FILE_NAME + ".tmp")
        temporary.write_text(json.dumps(asdict(self), ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
        os.replace(temporary, folder / FILE_NAME)

    @classmethod
    def load(cls, folder: Path) -> Template:
        """Reads the template of a checkpoint. Raises ``UserError`` if it has none."""
        path = folder / FILE_NAME
        if not path.exists():
            names = ", ".join(TEMPLATES)
            raise UserError(f"{folder} has no {FILE_NAME}: name a template in the recipe, one of {names}")
        fields = json.loads(path.read_text(encoding="utf-8"))
        fields["stop_strings"] = tuple(fields["stop_strings"])
        return cls(**fields)


# R1-Zero's instruction (DeepSeek-R1, table 1) in our words: it fixes the structure and says nothing of the reasoning.
_R1_ZERO = (
    "The User asks a question and the Assistant solves it. The Assistant first thinks about the reasoning in its mind "
    "and then gives the User the answer. The reasoning is enclosed in <think> </think> and the answer in "
    "<answer> </answer>, that is: <think> reasoning here </think> <answer> answer here </answer>."
)
_TURNS = (
    "{% for m in messages %}"
    "{{ 'User: ' if m.role == 'user' else 'Assistant: ' if m.role == 'assistant' else '' }}{{ m.content }}{{ '\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
)
_CHAT = (
    "{% for m in messages %}"
    "{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n<think>\\n' }}{% endif %}"
)

TEMPLATES: dict[str, Template] = {
    template.name: template
    for template in (
        Template("r1-zero", "{{ '" + _R1_ZERO + "\\n' }}" + _TURNS, stop_strings=("\nUser:",)),
        Template("r1-zero-compact", _TURNS, stop_strings=("\nUser:",)),
        Template(
            "r1-compact",
            _TURNS.replace("'Assistant:'", "'Assistant: <think>'"),
            prefilled_think=True,
            answer_tag=False,
            stop_strings=("\nUser:",),
            optional_thinking=True,
        ),
        Template(
            "chat-think",
            _CHAT,
            prefilled_think=True,
            answer_tag=False,
            stop_strings=("<|im_end|>",),
            optional_thinking=True,
        ),
    )
}
