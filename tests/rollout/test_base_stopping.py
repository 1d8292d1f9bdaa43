"""Where completions end: no token that completes a stop string goes unnoticed."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from thinkery.models.loading import resolve_model
from thinkery.rollout.base import ENDS, RUNS, StopRule

TEXTS = [
    "12+34=46. So it's 46.</think><answer>46</answer>\nUser: and 7*8?\n\nAssistant: 56",
    "先算 12+34=46，答案是 46。</think><answer>46</answer>\n用户：再算一道。好的：小明有 3 个苹果",
    "emoji 🙂 and accents é è, then <|end|> and a:b::c",
]


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    """The shipped base's: bytes, joined to pieces of words."""
    return AutoTokenizer.from_pretrained(resolve_model("thinkery://mini-base"))


def rule(tokenizer: PreTrainedTokenizerBase, *strings: str) -> StopRule:
    return StopRule(tokenizer, len(tokenizer), [0], strings, torch.device("cpu"))


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("length", [1, 2, 5, 9])
def test_every_string_of_a_text_is_found_at_its_last_token(
    tokenizer: PreTrainedTokenizerBase, text: str, length: int
) -> None:
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert tokenizer.decode(ids) == text
    for start in range(0, len(text) - length + 1, 2):
        string = text[start : start + length]
        found = rule(tokenizer, "never that", string)
        whole = next(at for at in range(len(ids) + 1) if string in tokenizer.decode(ids[:at]))
        assert found.flags_V[ids[whole - 1]] != RUNS
        assert found.string_ends(ids[max(0, whole - found.tail) : whole])
        assert found.text(ids[:whole], stopped=True) == text[: text.index(string)]


def test_few_tokens_are_looked_at(tokenizer: PreTrainedTokenizerBase) -> None:
    flags_V = rule(tokenizer, "\nUser:").flags_V
    assert flags_V[0] == ENDS
    looked_at = [tokenizer.decode([token]) for token in (flags_V != RUNS).nonzero()[:, 0].tolist() if token]
    assert looked_at
    assert all(":" in piece for piece in looked_at)
    assert (flags_V != RUNS).sum() < len(tokenizer) / 100
