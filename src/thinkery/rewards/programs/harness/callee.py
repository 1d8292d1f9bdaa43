"""Holds the program under test, inside the sandbox: loads it, calls its functions, says what they returned.

Messages on the channel are plain values (``plain``). The host asks, this answers:

    ("load", source)                         -> ("loaded",) | ("error", kind, text, line)
    ("call", function, arguments, keywords)  -> ("value", value) | ("missing",) | ("error", kind, text, line)

Sources share one namespace. The line is the last one's.

The program shares this process and can send whatever it likes instead; so an answer is only what the program *claims*,
and nothing that could be worth knowing (expected values, tests, other calls) ever comes here. Standard library only.
"""

from __future__ import annotations

import builtins
import os
import struct
import sys
import types
from typing import Any

from thinkery.rewards.programs.harness.plain import PlainError, decode, encode

CHANNEL = 3  # the descriptor that the sandbox gives its program; frames are a big-endian length and the bytes
_HEADER = struct.Struct(">I")
_MAX_TEXT = 500  # of an error's message
_FILE = "<program>"


def main() -> None:
    """Answers until the host closes the channel."""
    module = types.ModuleType("solution")
    sys.modules["solution"] = module
    if "THINKERY_CHANNEL" in os.environ:
        while (header := _read(_HEADER.size)) is not None:
            answer = _answer(module, _read(_HEADER.unpack(header)[0]) or b"")
            _write(_HEADER.pack(len(answer)) + answer, CHANNEL)
    else:
        _answer_lines(module)
    sys.stdout.flush()
    os._exit(0)


def _answer_lines(module: types.ModuleType) -> None:
    """Where the sandbox has no channel: requests are lines of standard input, answers lines of standard output.

    What the program itself prints goes to standard error instead.
    """
    requests = sys.stdin.buffer.read().splitlines()
    answers = os.dup(1)
    os.dup2(2, 1)
    for request in requests:
        _write(_answer(module, request) + b"\n", answers)


def _answer(module: types.ModuleType, message: bytes) -> bytes:
    request = decode(message)
    if request[0] == "load":
        return _encoded(_load(module, request[1]))
    return _encoded(_call(module, request[1], request[2], request[3]))


def _load(module: types.ModuleType, source: str) -> tuple[Any, ...]:
    try:
        exec(compile(source, _FILE, "exec"), module.__dict__)
    except BaseException as error:
        return _error(error)
    return ("loaded",)


def _call(module: types.ModuleType, function: str, arguments: Any, keywords: dict[str, Any]) -> tuple[Any, ...]:
    try:
        target = _find(module, function)
        if target is None:
            return ("missing",)
        return ("value", target(*arguments, **keywords))
    except BaseException as error:
        return _error(error)


def _find(module: types.ModuleType, function: str) -> Any:
    """The function, or the method of a fresh instance; where only a class Solution has it (LeetCode), that one."""
    first, _, method = function.partition(".")
    target = getattr(module, first, None)
    if target is None and not method and hasattr(getattr(module, "Solution", None), first):
        return getattr(module.Solution(), first)
    return getattr(target(), method, None) if method and target is not None else target


def _error(error: BaseException) -> tuple[Any, ...]:
    """What went wrong: the nearest built-in exception's name, the message, and the program's line (0: unknown)."""
    kind = next((c.__name__ for c in type(error).__mro__ if getattr(builtins, c.__name__, None) is c), "Exception")
    try:
        # A KeyError's own text is the repr of its key, and would be so once more when it is raised again.
        text = str(error.args[0] if isinstance(error, KeyError) and error.args else error)[:_MAX_TEXT]
    except BaseException:
        text = ""
    line = getattr(error, "lineno", None) or 0 if isinstance(error, SyntaxError) else 0
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == _FILE:
            line = trace.tb_lineno
        trace = trace.tb_next
    return ("error", kind, text, line)


def _encoded(answer: tuple[Any, ...]) -> bytes:
    try:
        return encode(answer)
    except PlainError as error:
        return encode(("error", "TypeError", f"returned {error}", 0))
    except BaseException as error:  # a subclass that fails even under the built-in type's own methods
        return encode(_error(error))


def _read(count: int) -> bytes | None:
    data = b""
    while len(data) < count:
        part = os.read(CHANNEL, count - len(data))
        if not part:
            return None
        data += part
    return data


def _write(data: bytes, descriptor: int) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


if __name__ == "__main__":
    main()
