"""Every limit ends the run, says so, and leaves the sandbox as it was."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from thinkery.sandbox import Limits, RunResult, Status
from thinkery.types import UserError

pytestmark = pytest.mark.slow

Run = Callable[..., RunResult]


def test_wall_time(python: Run) -> None:
    result = python("import time\nprint('began', flush=True)\ntime.sleep(60)", wall_s=0.3)
    assert result.status is Status.TIMEOUT
    assert result.stdout == "began\n"
    assert result.exit_code is None
    assert 0.3 <= result.wall_s < 10
    assert "wall" in result.reason


def test_cpu_time_of_one_process(python: Run) -> None:
    result = python("while True: pass", cpu_s=0.2)
    assert result.status is Status.TIMEOUT
    assert "CPU" in result.reason
    assert 0.2 <= result.cpu_s < 5


def test_cpu_time_of_all_processes_together(python: Run) -> None:
    source = "import os\nfor _ in range(3): os.fork()\nwhile True: pass"
    result = python(source, cpu_s=0.5, wall_s=9)
    assert result.status is Status.TIMEOUT
    assert "CPU" in result.reason


def test_cpu_time_of_children_that_come_and_go(python: Run) -> None:
    source = """
import os, time
while True:
    if os.fork() == 0:
        end = time.process_time() + 0.05
        while time.process_time() < end: pass
        os._exit(0)
    os.wait()
"""
    result = python(source, cpu_s=0.5, wall_s=9)
    assert result.status is Status.TIMEOUT
    assert "CPU" in result.reason


def test_memory_asked_for_at_once(python: Run) -> None:
    assert python("x = bytearray(10**9)").status is Status.MEMORY


def test_memory_that_grows(python: Run) -> None:
    assert python("x = []\nwhile True: x.append(bytes(10**6))", memory_bytes=100 << 20).status is Status.MEMORY


def test_memory_of_all_processes_together(python: Run) -> None:
    source = "import os, time\nfor _ in range(3): os.fork()\nx = bytearray(60 << 20)\ntime.sleep(30)"
    result = python(source, memory_bytes=256 << 20)
    assert result.status is Status.MEMORY
    assert python(source.replace("30)", "0)"), memory_bytes=1 << 30).ok


def test_memory_that_processes_share_counts_once(python: Run) -> None:
    source = """
import os, time
x = bytearray(60 << 20)
children = []
for _ in range(6):
    child = os.fork()
    if child == 0:
        time.sleep(0.3)
        os._exit(0)
    children.append(child)
for child in children: os.waitpid(child, 0)
"""
    assert python(source, memory_bytes=200 << 20).ok


def test_files_are_memory(python: Run) -> None:
    source = """
import time
x = bytearray(80 << 20)
for i in range(6): open(str(i), 'wb').write(bytes(10 << 20))
time.sleep(30)
"""
    assert python(source, memory_bytes=128 << 20).status is Status.MEMORY


def test_disk(python: Run) -> None:
    source = """
try:
    for i in range(100):
        with open(str(i), 'wb') as file: file.write(bytes(1 << 20))
except OSError as error:
    print(error.strerror, i)
"""
    assert python(source, disk_bytes=4 << 20).stdout == "No space left on device 3\n"


def test_one_file(python: Run) -> None:
    assert "File too large" in python("open('x', 'wb').write(bytes(2 << 20))", file_bytes=1 << 20).stderr


def test_number_of_files(python: Run) -> None:
    source = """
i = 0
try:
    while True:
        open(str(i), 'w').close()
        i += 1
except OSError as error:
    print(error.strerror, i < 5000)
"""
    assert python(source).stdout == "No space left on device True\n"


def test_open_files(python: Run) -> None:
    source = """
held = []
try:
    while True: held.append(open('/dev/null'))
except OSError as error:
    print(error.strerror, len(held) <= 20)
"""
    assert python(source, open_files=20).stdout == "Too many open files True\n"


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_output(stream: str, python: Run) -> None:
    result = python(f"import sys\nwhile True: sys.{stream}.write('0123456789')", output_bytes=10_000)
    assert result.status is Status.OUTPUT
    assert getattr(result, stream) == "0123456789" * 1000
    assert python(f"import sys\nsys.{stream}.write('0123456789' * 1000)", output_bytes=10_000).ok


def test_output_of_a_program_that_ends_at_once(python: Run) -> None:
    result = python("print('x' * 5000)", output_bytes=1000)
    assert result.status is Status.OUTPUT
    assert result.stdout == "x" * 1000


@pytest.mark.parametrize(
    "bomb",
    [
        "import os\nwhile True: os.fork()",
        "import os\nwhile True:\n    try: os.fork()\n    except OSError: pass",
        "import threading, time\nwhile True: threading.Thread(target=time.sleep, args=(30,)).start()",
    ],
)
def test_processes(bomb: str, python: Run) -> None:
    assert not python(bomb, wall_s=1).ok
    assert python("print(1)").ok


def test_exactly_as_many_processes_as_allowed(python: Run) -> None:
    source = """
import os, time
children = 0
try:
    while True:
        if os.fork() == 0:
            time.sleep(30)
            os._exit(0)
        children += 1
except OSError:
    print(1 + children)
"""
    assert python(source, processes=5).stdout == "5\n"


def test_a_limit_that_is_none_is_refused() -> None:
    with pytest.raises(UserError, match="disk_bytes is 0"):
        Limits(disk_bytes=0)
    with pytest.raises(UserError, match="wall_s is nan"):
        Limits(wall_s=float("nan"))
