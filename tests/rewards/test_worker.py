"""Worker processes: warm, light, replaced when lost, and gone when closed or orphaned."""

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from thinkery.rewards.worker import WorkerLostError, WorkerPool

FUNCTIONS = """
import os
def echo(text):
    return {"text": text, "pid": str(os.getpid())}
def die(text):
    os._exit(1) if text == "die" else None
    return echo(text)
def noisy(text):
    print("not part of the protocol")
    return echo(text)
def loop(text):
    os.write(2, f"{os.getpid()}\\n".encode()) if text == "loop" else None
    while text == "loop":
        pass
    return echo(text)
def hoard(text):
    return {"size": str(len(bytearray(8 << 30)))} if text == "hoard" else echo(text)
"""


@pytest.fixture
def functions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "worker_functions.py").write_text(FUNCTIONS)
    monkeypatch.syspath_prepend(tmp_path)
    return "worker_functions"


@pytest.fixture
def pools() -> Iterator[list[WorkerPool]]:
    opened: list[WorkerPool] = []
    yield opened
    for pool in opened:
        pool.close()


def test_a_worker_stays_warm(functions: str, pools: list[WorkerPool]) -> None:
    pools.append(WorkerPool(f"{functions}:noisy"))
    replies = [pools[0].submit(text=str(i)).result() for i in range(5)]
    assert [reply["text"] for reply in replies] == ["0", "1", "2", "3", "4"]
    assert len({reply["pid"] for reply in replies}) == 1


@pytest.mark.parametrize(("function", "deadly"), [("die", "die"), ("loop", "loop"), ("hoard", "hoard")])
def test_a_lost_worker_is_replaced(functions: str, pools: list[WorkerPool], function: str, deadly: str) -> None:
    pools.append(WorkerPool(f"{functions}:{function}", deadline_s=3.0))
    before = pools[0].submit(text="before").result()
    with pytest.raises(WorkerLostError):
        pools[0].submit(text=deadly).result()
    after = pools[0].submit(text="after").result()
    assert after["text"] == "after"
    assert after["pid"] != before["pid"]


def test_a_worker_that_cannot_start_is_an_error(pools: list[WorkerPool]) -> None:
    pools.append(WorkerPool("no_such_module:f"))
    with pytest.raises(RuntimeError, match="no_such_module"):
        pools[0].submit(text="a").result()


def test_closing_ends_the_process(functions: str) -> None:
    pool = WorkerPool(f"{functions}:echo", workers=2)
    pids = {int(pool.submit(text=str(i)).result()["pid"]) for i in range(4)}
    pool.close()
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_a_hanging_worker_does_not_outlive_a_killed_parent(functions: str) -> None:
    pool = f"WorkerPool('{functions}:loop', deadline_s=1.0)"
    code = f"from thinkery.rewards.worker import WorkerPool; {pool}.submit(text='loop').result()"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    with subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, env=environment) as parent:
        assert parent.stderr is not None
        readable, _, _ = select.select([parent.stderr], [], [], 120)
        assert readable, "the worker never began"
        worker = os.pidfd_open(int(parent.stderr.readline()))
        parent.send_signal(signal.SIGKILL)
    ended, _, _ = select.select([worker], [], [], 120)  # its CPU limit ends it: it cannot read that the pipe closed
    os.close(worker)
    assert ended


def test_a_worker_needs_no_torch() -> None:
    code = (
        "import json, sys, thinkery.rewards.worker, thinkery.rewards.symbolic; "
        "print(json.dumps([name for name in ('torch', 'transformers', 'numpy') if name in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=True)
    assert json.loads(done.stdout) == []
