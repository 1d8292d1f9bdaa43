"""Whether a model that was read has the weights that its configuration promises: all of them, no others, and finite.

transformers draws what a file lacks at random and leaves out what it doesn't know; a run from such a model would mean
nothing, and two equal ones would differ. Left out: reading (``pretrained.py``), and whether a model is any good.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedModel

from thinkery.types import UserError

_CHUNK = 2**24  # numbers that are looked at together
_NAMED = 3  # tensors that an error names


def require_sound(ref: str, model: PreTrainedModel, info: Mapping[str, Any], *, headless: bool = False) -> None:
    """Raises ``UserError`` with the tensors that are missing, unknown, of another shape, untied or not finite.

    ``info`` is what transformers tells of loading: what it knows to be harmless, as the buffers of rotations that old
    files hold, is no longer in it. ``headless`` accepts that the output head is missing.
    """
    head = _name_of(model, model.get_output_embeddings())
    missing = sorted(set(info["missing_keys"]) - ({head} if headless else set()))
    unexpected = sorted(info["unexpected_keys"])
    shapes = sorted((name, tuple(found), tuple(wanted)) for name, found, wanted in info["mismatched_keys"])
    if missing == [head] and not unexpected and not shapes:
        raise UserError(
            f"{ref} has no output head: its config.json says tie_word_embeddings: false, and its files hold no {head}; "
            "set it to true if the head is the embedding, else save the checkpoint again with its head"
        )
    if missing or unexpected or shapes:
        raise UserError(_other_tensors(ref, model.config.model_type, missing, unexpected, shapes))
    _require_tied(ref, model, head)
    require_finite(ref, model)


def require_finite(ref: str, model: nn.Module) -> None:
    """Raises ``UserError`` with the parameters that hold NaN or infinity. Reads each number once, copies none."""
    bad = [name for name, parameter in model.named_parameters() if not _finite(parameter.detach())]
    if bad:
        raise UserError(
            f"{ref} has weights that are not finite (NaN or infinity), in {_listed(bad)}: it was saved broken; name an "
            "earlier checkpoint of it"
        )


def _other_tensors(
    ref: str,
    model_type: str,
    missing: Sequence[str],
    unexpected: Sequence[str],
    shapes: Sequence[tuple[str, tuple[int, ...], tuple[int, ...]]],
) -> str:
    found = []
    if missing:
        found.append(f"they lack {_listed(missing)}")
    if unexpected:
        found.append(f"they hold {_listed(unexpected)}, which such a model doesn't have")
    if shapes:
        _, has, wants = shapes[0]
        found.append(
            f"{_listed([name for name, _, _ in shapes])} should be of the shape {list(wants)} and is {list(has)}"
        )
    return (
        f"{ref} is not the {model_type} model that its config.json describes: of its weights' files, "
        f"{'; '.join(found)}; give it the config.json that its weights were saved with, or save it again"
    )


def _require_tied(ref: str, model: PreTrainedModel, head: str | None) -> None:
    """A head that is said to be the embedding must be: transformers keeps two where the file holds two."""
    embedding, output = model.get_input_embeddings(), model.get_output_embeddings()
    tied = getattr(model.config.get_text_config(), "tie_word_embeddings", False)
    if tied and output is not None and output.weight is not embedding.weight:
        raise UserError(
            f"{ref} has a head of its own: its config.json says tie_word_embeddings: true, and {head} is not equal to "
            f"{_name_of(model, embedding)}; set it to false, or save the checkpoint again without that head"
        )


def _name_of(model: nn.Module, module: nn.Module | None) -> str | None:
    """The name of a module's weight in the model."""
    return next((f"{name}.weight" for name, one in model.named_modules() if one is module), None)


def _finite(tensor: Tensor) -> bool:
    """A sum is finite only if all of its terms are; where it isn't, finite terms may still have been too large."""
    if not tensor.is_floating_point():
        return True
    chunks = tensor.reshape(-1).split(_CHUNK)
    return all(bool(chunk.sum().isfinite()) or bool(chunk.isfinite().all()) for chunk in chunks)


def _listed(names: Sequence[str]) -> str:
    """The first of them, and how many more there are."""
    rest = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {rest} more" if rest > 0 else "")
