"""What can be told of a checkpoint without its weights: whether it can be a policy, and how long a prompt may be.

Left out: what only the weights show (``loading.py``), and whether a model is any good.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from transformers import GenerationConfig, PreTrainedTokenizerBase

from thinkery.models.attention import check_supported
from thinkery.models.loading import resolve_model, saved_template
from thinkery.models.pretrained import read_config, read_generation, read_tokenizer, require_whole_files
from thinkery.models.template import Template
from thinkery.types import Message, UserError


@dataclass(frozen=True, slots=True)
class Window:
    """What a model can read at once: ``context`` tokens of prompt and completion (None: nothing says how many)."""

    tokenizer: PreTrainedTokenizerBase
    template: Template
    context: int | None

    def why_too_long(self, prompt: str | Sequence[Message], max_completion_length: int) -> str | None:
        """Why a prompt leaves no room for an answer under the template; None if it leaves some."""
        if self.context is None:
            return None
        rendered = self.template.render(prompt)
        if len(rendered.encode()) + max_completion_length <= self.context:  # a token is a byte of text or more
            return None
        length = len(self.tokenizer(rendered, add_special_tokens=False)["input_ids"])
        if length + max_completion_length <= self.context:
            return None
        return (
            f"its prompt of {length:,} tokens and max_completion_length {max_completion_length:,} exceed the model's "
            f"context of {self.context:,}"
        )


def window_of(ref: str, template: Template | None) -> Window:
    """A checkpoint's window; ``template`` None is the one saved with it. Raises ``UserError`` if it can't be read."""
    path = resolve_model(ref)
    config = read_config(path, ref).get_text_config()
    context = getattr(config, "max_position_embeddings", None)
    return Window(load_tokenizer(ref), template or saved_template(path), context)


def load_tokenizer(ref: str) -> PreTrainedTokenizerBase:
    """A checkpoint's tokenizer. Raises ``UserError`` if it has none."""
    return read_tokenizer(resolve_model(ref), ref)


def require_policy(ref: str, template: Template | None) -> None:
    """Raises ``UserError`` if a checkpoint is missing or damaged, can't attend or end here, or has no template.

    ``template`` None is the one saved with it. Of a model of the Hub the configuration and the tokenizer are fetched.
    """
    path = resolve_model(ref)
    require_whole_files(path)
    config = read_config(path, ref)
    check_supported(config)
    tokenizer = load_tokenizer(ref)
    template = template or saved_template(path)
    vocabulary = tokenizer.get_vocab()
    if tokenizer.eos_token_id is not None or any(string in vocabulary for string in template.stop_strings):
        return
    generation = read_generation(path, ref) or GenerationConfig.from_model_config(config)
    if generation.eos_token_id is None:
        raise UserError(
            f"{ref} has no end-of-sequence token, so it could never end: set eos_token in its tokenizer_config.json to "
            "a token of its vocabulary"
        )
