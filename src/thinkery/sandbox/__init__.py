"""Runs untrusted Python and C++ programs, isolated from the machine and from one another.

    >>> from thinkery.sandbox import run_python
    >>> run_python("print(int(input()) + 1)", "41").stdout
    '42\\n'

Left out: whether a program is right (``thinkery.rewards``).
"""

from thinkery.sandbox.sandbox import Conversation, ConversationEnded, Sandbox, run_cpp, run_python, shared_sandbox
from thinkery.sandbox.types import Language, Limits, Program, RunResult, Status

__all__ = [
    "Conversation",
    "ConversationEnded",
    "Language",
    "Limits",
    "Program",
    "RunResult",
    "Sandbox",
    "Status",
    "run_cpp",
    "run_python",
    "shared_sandbox",
]
