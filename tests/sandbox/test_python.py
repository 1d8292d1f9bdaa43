"""Untrusted Python behaves as under ``python program.py``: compared with the real interpreter where there is one."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from thinkery.sandbox import RunResult, Status

pytestmark = pytest.mark.slow

Run = Callable[..., RunResult]
SYSTEM_PYTHON = "/usr/bin/python3"

PROGRAMS = {
    "arguments": "import sys\nprint(len(sys.argv), __name__, __file__.endswith('program.py'))",
    "guard": "if __name__ == '__main__':\n    print('main')",
    "input": "print(sum(int(input()) for _ in range(3)))",
    "lines": "import sys\nfor line in sys.stdin: print(line.strip()[::-1])",
    "input past the end": "while True: print(input())",
    "exit code": "raise SystemExit(7)",
    "exit code beyond a byte": "import sys\nsys.exit(300)",
    "exit text": "import sys\nsys.exit('enough')",
    "exit None": "exit_now = __import__('sys').exit\nexit_now()",
    "exception": "def halve(n):\n    return n / 0\n\nhalve(3)",
    "chained exceptions": "try:\n    {}['x']\nexcept KeyError as error:\n    raise ValueError('no x') from error",
    "exception group": "raise ExceptionGroup('many', [ValueError(1), TypeError(2)])",
    "syntax error": "print('before')\nfor x in\n",
    "exit without ado": "import os\nprint('lost')\nos._exit(4)",
    "atexit": "import atexit\natexit.register(print, 'bye')\nprint('hello')\n1 / 0",
    "thread outlives main": (
        "import threading\nhold = threading.Event()\n"
        "threading.Thread(target=lambda: (hold.wait(5), print('late'))).start()\nprint('main')\nhold.set()"
    ),
    "own excepthook": "import sys\nsys.excepthook = lambda *a: print('hook', a[0].__name__)\n1 / 0",
    "recursion": "def f(n):\n    return f(n + 1)\ntry:\n    f(0)\nexcept RecursionError:\n    print('deep')",
    "unflushed": "import sys\nsys.stdout.write('no newline')",
    "closed stdout": "import sys\nsys.stdout.close()",
    "inspect own source": "import inspect\ndef f(): pass\nprint(inspect.getsource(f))",
    "pickle a class": "import pickle\nclass A: pass\nprint(type(pickle.loads(pickle.dumps(A()))).__module__)",
    "dataclass": "from dataclasses import dataclass\n@dataclass\nclass P:\n    x: int\nprint(P(1))",
    "child": "import subprocess, sys\nprint(subprocess.check_output([sys.executable, '-c', 'print(2)']))",
    "asyncio": "import asyncio\nasync def f():\n    await asyncio.sleep(0)\n    print(1)\nasyncio.run(f())",
    "modules": "import sys\nprint('inside' in sys.modules, sys.modules['__main__'].__dict__ is globals())",
}


@pytest.mark.skipif(not Path(SYSTEM_PYTHON).exists(), reason=f"compares with {SYSTEM_PYTHON}")
@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_does_what_it_does_outside(name: str, python: Run, tmp_path: Path) -> None:
    stdin = "1\n22\n333\n"
    file = tmp_path / "program.py"
    file.write_text(PROGRAMS[name])
    command = [SYSTEM_PYTHON, "-S", "-X", "utf8", str(file)]
    real = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=30, env={})
    result = python(PROGRAMS[name], stdin)
    assert result.exit_code == real.returncode
    assert result.stdout == real.stdout
    assert result.stderr == real.stderr.replace(str(file), "/tmp/program.py")
    assert result.status is (Status.OK if real.returncode == 0 else Status.ERROR)


def test_source_that_is_no_source_is_the_programs_error(python: Run) -> None:
    for source in ("x = '\0'", "\ud800", "(" * 500, "é = 1; ∑"):
        result = python(source)
        assert (result.status, result.exit_code) == (Status.ERROR, 1), source
        assert "Error" in result.stderr


def test_unicode_and_bytes_that_are_none_come_through(python: Run) -> None:
    assert python("print(input() + ' ∑ 数学 😀')", "é\n").stdout == "é ∑ 数学 😀\n"
    assert python("import sys\nsys.stdout.buffer.write(bytes([65, 255, 66]))").stdout == "A\ufffdB"
    echo = "import sys\nsys.stdout.buffer.write(sys.stdin.buffer.read()[::-1])"
    assert python(echo, bytes(range(127))).stdout == bytes(range(127))[::-1].decode()
    assert python("print(ascii(input()))", b"\xff\n").stdout == r"'\udcff'" + "\n"


def test_a_big_input_arrives_whole_whoever_reads_it(python: Run) -> None:
    text = "0123456789\n" * (1 << 20)
    assert python("import sys\nprint(len(sys.stdin.read()))", text).stdout == f"{len(text)}\n"
    assert python("print('not read')", text).stdout == "not read\n"
    early = "import sys\nprint('x' * 500_000)\nsys.stdout.flush()\nprint(len(sys.stdin.read()))"
    assert python(early, text).stdout.endswith(f"x\n{len(text)}\n")


def test_randomness_and_hashes_are_the_same_every_time(python: Run) -> None:
    source = "import random\nprint(random.random(), random.randint(0, 10**9), hash('a'), {*'abcdef'})"
    assert len({python(source).stdout for _ in range(4)}) == 1
    assert python("import random\nrandom.seed(0)\nprint(random.random())").stdout == "0.8444218515250481\n"
    forked = (
        "import os, random\nread, write = os.pipe()\nif os.fork() == 0:\n"
        "    os.write(write, str(random.random()).encode())\n    os._exit(0)\n"
        "os.wait()\nprint(float(os.read(read, 100)) != random.random())"
    )
    assert python(forked).stdout == "True\n"


def test_the_standard_library_is_there_and_nothing_else(python: Run) -> None:
    assert python("import sqlite3, zoneinfo, unittest, multiprocessing, ssl, tomllib").ok
    for absent in ("thinkery", "inside", "numpy", "torch", "pip"):
        assert "ModuleNotFoundError" in python(f"import {absent}").stderr


def test_processes_and_their_locks_work(python: Run) -> None:
    source = """
import multiprocessing
def square(n):
    return n * n
if __name__ == "__main__":
    with multiprocessing.Pool(2) as pool:
        print(pool.map(square, range(5)))
"""
    assert python(source).stdout == "[0, 1, 4, 9, 16]\n"


def test_what_a_run_changes_is_gone_in_the_next(python: Run) -> None:
    assert python(
        "import math, json, builtins, os, sys, random\n"
        "math.pi = 3; json.dumps = None; builtins.left = 1; os.environ['LEFT'] = 'x'; sys.path.append('/left')\n"
        "open('left', 'w').write('x'); os.makedirs('/tmp/a/b'); random.seed(5); sys.setrecursionlimit(50)\n"
    ).ok
    for _ in range(4):  # every worker's turn
        look = (
            "import math, json, os, sys, random\n"
            "print(math.pi > 3.1, json.dumps(2), 'left' in dir(__builtins__), 'LEFT' in os.environ,\n"
            "      '/left' in sys.path,\n"
            "      sorted(os.listdir('/tmp')), sys.getrecursionlimit())"
        )
        assert python(look).stdout == "True 2 False False False ['program.py'] 1000\n"


def test_the_environment_tells_nothing(python: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_TOKEN", "hunter2")
    source = (
        "import os\nprint(sorted(os.environ), os.listdir('/proc'), os.path.exists('/home'), os.path.exists('/root'))"
    )
    names = ["HOME", "LANG", "PATH", "PYTHONHASHSEED", "TMPDIR"]
    assert python(source).stdout == f"{names} [] False False\n"
