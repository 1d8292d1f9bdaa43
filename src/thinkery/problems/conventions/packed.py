"""LiveCodeBench's private tests, unpacked: base64 of zlib of a pickle that holds one text.

A pickle is a program, so it is not run: its operations are listed, and a pickle of anything but one text is refused.
Left out: what the text says (``code.py``).
"""

from __future__ import annotations

import base64
import binascii
import pickletools
import zlib

MAX_TEXT = 256 << 20  # bytes
_TEXT = {"UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"}
_AROUND = {"PROTO", "FRAME", "MEMOIZE", "PUT", "BINPUT", "LONG_BINPUT", "STOP"}


def unpack_text(packed: str) -> str:
    """The text. Raises ``ValueError`` that says what is wrong with it."""
    try:
        squeezed = base64.b64decode("".join(packed.split()), validate=True)
        unzip = zlib.decompressobj()
        pickled = unzip.decompress(squeezed, MAX_TEXT)
    except (binascii.Error, zlib.error, ValueError) as error:
        raise ValueError(f"is neither JSON nor base64 of zlib data ({error})") from None
    if unzip.unconsumed_tail or not unzip.eof:
        raise ValueError(f"is cut off, or longer than {MAX_TEXT >> 20} MB when unpacked")
    return _pickled_text(pickled)


def _pickled_text(pickled: bytes) -> str:
    try:
        operations = [(operation.name, value) for operation, value, _ in pickletools.genops(pickled)]
    except (ValueError, IndexError, EOFError) as error:
        raise ValueError(f"holds a pickle that is damaged ({error})") from None
    others = [name for name, _ in operations if name not in _TEXT | _AROUND]
    if others:
        raise ValueError(f"holds a pickle that does more than give a text ({others[0]}); nothing of it was run")
    texts = [value for name, value in operations if name in _TEXT]
    if len(texts) != 1:
        raise ValueError(f"holds a pickle of {len(texts)} texts, where one is expected")
    return str(texts[0])
