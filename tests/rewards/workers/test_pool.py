"""Worker processes: warm, light, replaced when lost, fair to quick requests, and gone when closed or orphaned."""

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import wait
from pathlib import Path

import pytest

from thinkery.rewards.workers.pool import ProcessPool, WorkerLostError

pytestmark = pytest.mark.slow

FUNCTIONS = """
import os
def echo(text):
    return {"text": text, "pid": str(os.getpid()), "zygote": str(os.getppid())}
def die(text):
    os._exit(1) if text == "die" else None
    return echo(text)
def noisy(text):
    print("not part of the protocol")
    return echo(text)
def sometimes(text):
    while text.startswith("loop"):
        pass
    return echo(text)
def grow(text):
    bytearray(270 << 20) if text == "grow" else None
    return echo(text)
def loop(text):
    os.write(2, f"{os.getpid()}\\n".encode()) if text == "loop" else None
    while text == "loop":
        pass
    return echo(text)
def waits(text):
    while text == "loop":
        pass
    return echo(text if text == "warm" else open(text).read())
def hoard(text):
    return {"size": str(len(bytearray(8 << 30)))} if text == "hoard" else echo(text)
"""


@pytest.fixture
def functions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "worker_functions.py").write_text(FUNCTIONS)
    monkeypatch.syspath_prepend(tmp_path)
    return "worker_functions"


@pytest.fixture
def pools() -> Iterator[list[ProcessPool]]:
    opened: list[ProcessPool] = []
    yield opened
    for pool in opened:
        pool.close()


def test_a_worker_stays_warm(functions: str, pools: list[ProcessPool]) -> None:
    pools.append(ProcessPool(f"{functions}:noisy"))
    replies = [pools[0].submit(text=str(i)).result() for i in range(5)]
    assert [reply["text"] for reply in replies] == ["0", "1", "2", "3", "4"]
    assert len({reply["pid"] for reply in replies}) == 1


@pytest.mark.parametrize(("function", "deadly"), [("die", "die"), ("loop", "loop"), ("hoard", "hoard")])
def test_a_lost_worker_is_replaced(functions: str, pools: list[ProcessPool], function: str, deadly: str) -> None:
    pools.append(ProcessPool(f"{functions}:{function}", deadline_s=1.5))
    before = pools[0].submit(text="before").result()
    with pytest.raises(WorkerLostError):
        pools[0].submit(text=deadly).result()
    after = pools[0].submit(text="after").result()
    assert after["text"] == "after"
    assert after["pid"] != before["pid"]


def test_a_worker_that_grew_is_replaced_after_its_answer(functions: str, pools: list[ProcessPool]) -> None:
    pools.append(ProcessPool(f"{functions}:grow"))
    grown = pools[0].submit(text="grow").result()
    after = pools[0].submit(text="after").result()
    assert grown["text"] == "grow"
    assert after["pid"] != grown["pid"]


def test_different_hangs_do_not_starve_quick_requests(functions: str, pools: list[ProcessPool]) -> None:
    pools.append(ProcessPool(f"{functions}:sometimes", workers=1, deadline_s=60.0))
    pools[0].submit(text="warm").result()
    hangs = [pools[0].submit(text=f"loop {k}") for k in range(4)]
    quick = [pools[0].submit(text=str(k)) for k in range(100)]
    done, _ = wait(quick, timeout=50)  # less than one hang may take
    assert len(done) == 100
    assert not any(hang.done() for hang in hangs)


def test_every_hang_ends_when_there_are_more_than_the_slow_queue_holds(
    functions: str, pools: list[ProcessPool]
) -> None:
    pools.append(ProcessPool(f"{functions}:sometimes", workers=1, deadline_s=0.4))
    hangs = [pools[0].submit(text=f"loop {k}") for k in range(15)]
    after = pools[0].submit(text="after")
    assert after.result(timeout=60)["text"] == "after"
    for hang in hangs:
        with pytest.raises(WorkerLostError):
            hang.result(timeout=60)


def test_equal_requests_share_one_future(functions: str, pools: list[ProcessPool]) -> None:
    pools.append(ProcessPool(f"{functions}:echo"))
    assert pools[0].submit(text="a") is pools[0].submit(text="a")
    assert pools[0].submit(text="a") is not pools[0].submit(text="b")


def test_a_zygote_that_dies_is_replaced(functions: str, pools: list[ProcessPool]) -> None:
    pools.append(ProcessPool(f"{functions}:echo"))
    before = pools[0].submit(text="before").result()
    worker = os.pidfd_open(int(before["pid"]))
    os.kill(int(before["zygote"]), signal.SIGKILL)
    ended, _, _ = select.select([worker], [], [], 60)  # its workers do not outlive it
    os.close(worker)
    assert ended
    after = pools[0].submit(text="after").result(timeout=120)
    assert after["zygote"] != before["zygote"]


def test_a_request_that_runs_when_the_zygote_dies_is_asked_again(functions: str, pools: list[ProcessPool]) -> None:
    pools.append(ProcessPool(f"{functions}:sometimes", deadline_s=2.0))
    zygote = int(pools[0].submit(text="warm").result()["zygote"])
    hang = pools[0].submit(text="loop")
    os.kill(zygote, signal.SIGKILL)
    with pytest.raises(WorkerLostError, match="no verdict after 2 s"):
        hang.result(timeout=120)


def test_nothing_is_left_behind(functions: str) -> None:
    descriptors = len(os.listdir("/proc/self/fd"))
    pool = ProcessPool(f"{functions}:sometimes", workers=2, deadline_s=0.3)
    futures = [pool.submit(text=f"{'loop ' if k % 5 == 0 else ''}{k}") for k in range(50)]
    wait(futures, timeout=120)
    last = pool.submit(text="last").result()
    pool.close()
    assert len(os.listdir("/proc/self/fd")) == descriptors
    for pid in (last["pid"], last["zygote"]):
        with pytest.raises(ProcessLookupError):
            os.kill(int(pid), 0)
    states = subprocess.run(
        ["ps", "-o", "stat=", "--ppid", str(os.getpid())], capture_output=True, text=True, timeout=60
    )
    assert "Z" not in states.stdout


def test_closing_gives_up_what_is_queued_or_running(functions: str) -> None:
    pool = ProcessPool(f"{functions}:sometimes", deadline_s=60.0)
    futures = [pool.submit(text=f"loop {k}") for k in range(20)]
    pool.close()
    for future in futures:
        with pytest.raises(WorkerLostError, match="closed"):
            future.result(timeout=10)
    with pytest.raises(RuntimeError, match="closed"):
        pool.submit(text="after")


def test_a_worker_that_cannot_start_is_an_error(pools: list[ProcessPool]) -> None:
    pools.append(ProcessPool("no_such_module:f"))
    with pytest.raises(RuntimeError, match="no_such_module"):
        pools[0].submit(text="a").result()


def test_closing_ends_the_process(functions: str) -> None:
    pool = ProcessPool(f"{functions}:echo", workers=2)
    pids = {int(pool.submit(text=str(i)).result()["pid"]) for i in range(4)}
    pool.close()
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_a_hanging_worker_does_not_outlive_a_killed_parent(functions: str) -> None:
    pool = f"ProcessPool('{functions}:loop', deadline_s=1.0)"
    code = f"from thinkery.rewards.workers.pool import ProcessPool; {pool}.submit(text='loop').result()"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    with subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, env=environment) as parent:
        assert parent.stderr is not None
        readable, _, _ = select.select([parent.stderr], [], [], 120)
        assert readable, "the worker never began"
        worker = os.pidfd_open(int(parent.stderr.readline()))
        parent.send_signal(signal.SIGKILL)
    ended, _, _ = select.select([worker], [], [], 120)  # it cannot read that the pipe closed, but the zygote does
    os.close(worker)
    assert ended


def test_a_worker_needs_no_torch() -> None:
    code = (
        "import json, sys, thinkery.rewards.workers.pool, thinkery.rewards.answers.symbolic; "
        "print(json.dumps([name for name in ('torch', 'transformers', 'numpy') if name in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=True)
    assert json.loads(done.stdout) == []


def test_a_busy_machine_changes_no_reply(functions: str, pools: list[ProcessPool], tmp_path: Path) -> None:
    """A request that is stopped by others for longer than its limit is answered: the limit is processor time."""
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    pools.append(ProcessPool(f"{functions}:waits", workers=2, deadline_s=0.4))
    pools[0].submit(text="warm").result()
    waiting = pools[0].submit(text=str(gate))
    lost = pools[0].submit(text="loop")
    with pytest.raises(WorkerLostError):  # has had all the processor time of its limit, and more time by the clock
        lost.result(timeout=60)
    assert not waiting.done()
    gate.write_text("open\n")
    assert waiting.result(timeout=60)["text"] == "open\n"
