"""When a completion is over: end-of-sequence tokens, further stop tokens, and stop strings.

Strings end inside tokens and span several, so they must be looked for in text; but decoding every row at every step
would cost more than the model. A string can only be completed by a token in which its last characters occur, as many
as the token has room for: only after such a token is a row's tail decoded. Left out: the length limit, which is the
engine's.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers import PreTrainedTokenizerBase

from thinkery.types import UserError

RUNS, ENDS, MAY_END = 0, 1, 2  # what a token means for the completion that it was sampled for
_REPLACEMENT = "\ufffd"  # what a tokenizer shows for a part of a character


class StopRule:
    """The stop tokens and strings of one ``generate`` call.

    ``flags_V`` [vocabulary] uint8 says of every token whether it ends a completion, or may complete a stop string.
    ``tail`` is how many last tokens are enough to see whether it did.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        vocabulary: int,
        token_ids: Sequence[int],
        strings: Sequence[str],
        device: torch.device,
    ) -> None:
        if "" in strings:
            raise UserError("a stop string is empty: every completion would end before it starts")
        self._tokenizer = tokenizer
        self._token_ids = frozenset(token_ids)
        self._strings = tuple(dict.fromkeys(strings))
        # Every token has a byte or more, so this many tokens hold the longest string; a few may decode to nothing.
        self.tail = max((len(string.encode()) for string in strings), default=0) + 4
        self.flags_V = torch.full((vocabulary,), RUNS, dtype=torch.uint8)
        if strings:
            pieces = tokenizer.batch_decode(
                [[token] for token in range(vocabulary)], clean_up_tokenization_spaces=False
            )
            may_end = [token for token, piece in enumerate(pieces) if _may_complete(piece, self._strings)]
            self.flags_V[may_end] = MAY_END
        self.flags_V[[token for token in self._token_ids if token < vocabulary]] = ENDS
        self.flags_V = self.flags_V.to(device)

    def string_ends(self, token_ids: Sequence[int]) -> bool:
        """Whether a completion with these last tokens (``tail`` of them, if it has so many) holds a stop string."""
        tail = self._decode(token_ids)
        return any(string in tail for string in self._strings)

    def text(self, token_ids: Sequence[int], stopped: bool) -> str:
        """The decoded completion; if it was stopped, without the stop token, or up to the stop string."""
        if not stopped:
            return self._decode(token_ids)
        if token_ids[-1] in self._token_ids:
            return self._decode(token_ids[:-1])
        text = self._decode(token_ids)
        return text[: min((at for string in self._strings if (at := text.find(string)) >= 0), default=len(text))]

    def _decode(self, token_ids: Sequence[int]) -> str:
        # Special tokens stay visible: a tokenizer may call the thinking tags special.
        return str(
            self._tokenizer.decode(list(token_ids), skip_special_tokens=False, clean_up_tokenization_spaces=False)
        )


def _may_complete(piece: str, strings: Sequence[str]) -> bool:
    """Whether a token that decodes to ``piece`` can hold the end of one of the strings.

    Up to each place where it could end, the piece must end with the string, or be the end of it. A blank that a
    tokenizer drops from a token's beginning takes nothing from that. Where the piece shows a part of a character, all
    that is certain is that a last character of one byte would be seen.
    """
    if _REPLACEMENT in piece:
        return any(len(string[-1].encode()) > 1 or string[-1] in piece for string in strings)
    return any(string[-1] in piece and _holds_the_end(piece, string) for string in strings)


def _holds_the_end(piece: str, string: str) -> bool:
    heads = [piece[: at + 1] for at, character in enumerate(piece) if character == string[-1]]
    return any(head.endswith(string) or string.endswith(head) for head in heads)
