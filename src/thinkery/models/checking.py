"""What can be told of a checkpoint without its weights: whether it can be a policy here, before hours are spent.

Left out: what only the weights show (``loading.py``), and whether a model is any good.
"""

from __future__ import annotations

from transformers import AutoConfig, AutoTokenizer, GenerationConfig, PreTrainedTokenizerBase

from thinkery.models.attention import check_supported
from thinkery.models.loading import resolve_model, saved_template
from thinkery.models.template import Template
from thinkery.types import UserError


def load_tokenizer(ref: str) -> PreTrainedTokenizerBase:
    """A checkpoint's tokenizer. Raises ``UserError`` if it has none."""
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(resolve_model(ref))
    except (OSError, ValueError) as error:
        raise UserError(f"cannot load the tokenizer of {ref}: {str(error).splitlines()[0]}") from error
    return tokenizer


def require_policy(ref: str, template: Template | None) -> None:
    """Raises ``UserError`` if a checkpoint is missing, attends in an unsupported way, has no template, or can't end.

    ``template`` None is the one saved with it. Of a model of the Hub the configuration and the tokenizer are fetched.
    """
    path = resolve_model(ref)
    try:
        config = AutoConfig.from_pretrained(path)
    except (OSError, ValueError) as error:
        raise UserError(f"cannot load the model {ref}: {str(error).splitlines()[0]}") from error
    check_supported(config)
    tokenizer = load_tokenizer(ref)
    template = template or saved_template(path)
    vocabulary = tokenizer.get_vocab()
    if tokenizer.eos_token_id is not None or any(string in vocabulary for string in template.stop_strings):
        return
    try:
        generation = GenerationConfig.from_pretrained(path)
    except OSError:
        generation = GenerationConfig.from_model_config(config)
    if generation.eos_token_id is None:
        raise UserError(
            f"{ref} has no end-of-sequence token, so it could never end: set eos_token in its tokenizer_config.json to "
            "a token of its vocabulary"
        )
