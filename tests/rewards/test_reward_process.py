"""Users' rewards in a process of their own: whatever they do there, the run goes on or ends in words."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from thinkery.models.template import TEMPLATES
from thinkery.rewards.calling import GradedRow, call_rewards
from thinkery.rewards.interfaces import RewardContext
from thinkery.rewards.reward_process import ProcessReward, RewardProcess
from thinkery.types import Completion, Outcome, Problem, UserError, Verdict

pytestmark = pytest.mark.slow

CONTEXT = RewardContext(TEMPLATES["r1-zero-compact"], 64)
PATIENCE_S = 60.0
SHORT_S = 0.5  # a deadline that is meant to be missed
Write = Callable[..., str]


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def write() -> Write:
    def write(source: str, path: str = "mine.py") -> str:
        Path(path).write_text(source, encoding="utf-8")
        return path

    return write


@pytest.fixture
def process() -> Iterator[RewardProcess]:
    with RewardProcess(CONTEXT) as opened:
        yield opened


def rows(*texts: str, chat: bool = False, columns: Mapping[str, Any] | None = None) -> list[GradedRow]:
    prompt = ({"role": "user", "content": "2+2?"},) if chat else "2+2?"
    problem = Problem("p", prompt, "4", level=2, columns=columns or {})
    return [
        GradedRow(
            problem, Completion("p", index, (1,), (5, 6, 7), (0.0,) * 3, text, "stop", 0), Verdict(Outcome.CORRECT)
        )
        for index, text in enumerate(texts)
    ]


def ask(
    *rewards: ProcessReward, of: list[GradedRow], on_error: Any = "stop", timeout_s: float = PATIENCE_S
) -> tuple[list[list[float | None]], list[int]]:
    values, errors = call_rewards({one.spec: one for one in rewards}, of, on_error=on_error, timeout_s=timeout_s)
    return list(values.values()), list(errors.values())


def refusal(*rewards: ProcessReward, of: list[GradedRow], **settings: Any) -> str:
    with pytest.raises(UserError) as caught:
        ask(*rewards, of=of, **settings)
    return str(caught.value)


def gone(pid: int) -> bool:
    """Whether a process has ended, within a generous time; one that nobody has reaped yet has."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
    return False


def cpu_ticks(pid: int) -> int:
    """The processor time that it has used."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11])


# The signatures


def test_all_signatures_are_called_there_and_nothing_of_the_file_runs_here(
    write: Write, process: RewardProcess
) -> None:
    write(r"""
import asyncio, os, sys
assert "torch" not in sys.modules  # a fresh process, without the threads and the memory of the one that trains
def trl(prompts, completions, completion_ids, verdict, level, hint, scale=1, **kwargs):
    assert prompts == [[{"role": "user", "content": "2+2?"}]] * 2 and level == [2, 2] and hint == [{"n": 1}] * 2
    assert all(v.correct for v in verdict)
    return [scale * float(c[0]["content"]) + len(ids) for c, ids in zip(completions, completion_ids)]
async def later(completions, answer):
    await asyncio.sleep(0)
    return [float(c[0]["content"] == a) for c, a in zip(completions, answer)]
def verl(data_source, solution_str, ground_truth, extra_info=None):
    return {"score": float(solution_str == ground_truth), "data_source": data_source}
def openrlhf(queries, prompts, labels):
    assert all(prompt.endswith("User: 2+2?\nAssistant:") for prompt in prompts)
    return {"rewards": [float(q[len(p):] == label) for q, p, label in zip(queries, prompts, labels)]}
def which(completions):
    return [float(os.getpid())] * 2
""")
    asked = [process.load(f"mine.py:{name}", {}) for name in ("later", "verl", "openrlhf", "which")]
    scaled = process.load("mine.py:trl", {"scale": 2})
    values, errors = ask(scaled, *asked, of=rows("4", "5", chat=True, columns={"hint": {"n": 1}}))
    assert values[:4] == [[11.0, 13.0], [1.0, 0.0], [1.0, 0.0], [1.0, 0.0]]
    assert values[4] == [float(process.pid or 0)] * 2 != [float(os.getpid())] * 2
    assert errors == [0] * 5
    assert not [name for name in sys.modules if name.startswith("thinkery_user_mine")]


def test_what_a_file_keeps_lives_as_long_as_the_process(write: Write, process: RewardProcess) -> None:
    write("""
import os
SEEN = []
def f(completions):
    SEEN.extend(completions)
    if completions == ["die"]:
        os._exit(3)
    return [float(len(SEEN))] * len(completions)
def g(completions):
    return [float(len(SEEN))] * len(completions)
""")
    f, g = process.load("mine.py:f", {}), process.load("mine.py:g", {})
    assert ask(f, of=rows("a", "b"))[0] == [[2.0, 2.0]]
    assert ask(f, of=rows("c"))[0] == [[3.0]]
    assert ask(g, of=rows("c"))[0] == [[3.0]]  # functions of one file share it
    ask(f, of=rows("die"), on_error="zero")
    assert ask(f, of=rows("d"))[0] == [[1.0]]


def test_sync_rewards_run_while_async_ones_wait_and_async_ones_are_in_flight_together(
    write: Write, process: RewardProcess
) -> None:
    write("""
import asyncio, threading
CALLED, BOTH = threading.Event(), asyncio.Barrier(2)
async def waits(completions):
    await BOTH.wait()
    while not CALLED.is_set():
        await asyncio.sleep(0)
    return [1.0] * len(completions)
async def too(completions):
    await BOTH.wait()
    return [2.0] * len(completions)
def calls(completions):
    CALLED.set()
    return [3.0] * len(completions)
""")
    asked = [process.load(f"mine.py:{name}", {}) for name in ("waits", "too", "calls")]
    assert ask(*asked, of=rows("a"))[0] == [[1.0], [2.0], [3.0]]


LATER = """
import asyncio
async def later(completions):
    async def one(text):
        await asyncio.sleep(0)
        return float(int(text))
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(text)) for text in completions]
    return [task.result() for task in tasks]
"""


def test_a_client_that_lives_on_the_event_loop_survives_from_batch_to_batch(
    write: Write, process: RewardProcess
) -> None:
    write("""
import asyncio
LOOPS = set()
async def judge(completions):
    LOOPS.add(asyncio.get_running_loop())
    return [float(len(LOOPS))] * len(completions)
""")
    judge = process.load("mine.py:judge", {})
    assert ask(judge, of=rows("a"))[0] == [[1.0]]
    assert ask(judge, of=rows("a"))[0] == [[1.0]]


def test_failing_completions_of_an_async_reward_can_count_as_zero(write: Write, process: RewardProcess) -> None:
    write(LATER)
    later = process.load("mine.py:later", {})
    assert ask(later, of=rows("3", "1", "forty", "5"), on_error="zero") == ([[3.0, 1.0, 0.0, 5.0]], [1])
    assert ask(later, of=rows("a", "b"), on_error="zero") == ([[0.0, 0.0]], [2])


def test_an_async_exception_is_shown_as_itself_and_not_as_its_group(write: Write, process: RewardProcess) -> None:
    write(LATER)
    message = refusal(process.load("mine.py:later", {}), of=rows("3", "1", "forty", "5"))
    assert message.startswith("reward 'mine.py:later' raised ValueError: invalid literal")
    assert "line 6: return float(int(text))" in message
    assert "'forty'" in message


@pytest.mark.parametrize("wait", ["await asyncio.Event().wait()", "threading.Event().wait()"])
def test_after_an_async_reward_that_never_ends_the_next_ones_are_called(
    write: Write, process: RewardProcess, wait: str
) -> None:
    """Whether it waits, or holds the event loop while it does."""
    write(f"import asyncio, threading\nasync def hangs(completions):\n    {wait}\n    return [1.0]\n{LATER}")
    hangs, later = process.load("mine.py:hangs", {}), process.load("mine.py:later", {})
    message = refusal(hangs, of=rows("3"), timeout_s=SHORT_S)
    assert "gave no answer within 0.5 s" in message
    assert f"line 3: {wait}" in message
    assert ask(later, of=rows("3", "1"))[0] == [[3.0, 1.0]]


def test_what_is_in_flight_is_cancelled_with_the_error_of_another(write: Write, process: RewardProcess) -> None:
    write("""
import asyncio
CANCELLED = asyncio.Event()
async def waits(completions):
    try:
        await asyncio.Event().wait()
    finally:
        CANCELLED.set()
    return [1.0]
def fails(completions):
    raise ValueError("no")
async def was_cancelled(completions):
    await CANCELLED.wait()
    return [1.0]
""")
    waits, fails, was_cancelled = (process.load(f"mine.py:{name}", {}) for name in ("waits", "fails", "was_cancelled"))
    assert "'mine.py:fails' raised" in refusal(fails, waits, of=rows("a"), timeout_s=5.0)
    assert ask(was_cancelled, of=rows("a"))[0] == [[1.0]]


def test_signals_work_in_a_reward(write: Write, process: RewardProcess) -> None:
    write("""
import signal
def f(completions):
    def raises(number, frame):
        raise TimeoutError("an alarm of its own")
    signal.signal(signal.SIGALRM, raises)
    signal.setitimer(signal.ITIMER_REAL, 0.01)
    try:
        while True:
            pass
    except TimeoutError:
        return [1.0]
""")
    assert ask(process.load("mine.py:f", {}), of=rows("a"))[0] == [[1.0]]


def test_what_a_reward_prints_is_seen_also_before_a_crash(
    write: Write, process: RewardProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    write("""
import os, sys
def f(completions):
    print("found 3 of 4, café")
    print("beware", file=sys.stderr)
    os._exit(0)
""")
    refusal(process.load("mine.py:f", {}), of=rows("a"))
    process.close()
    out, err = capsys.readouterr()
    assert "found 3 of 4, café\n" in out
    assert "beware\n" in err


# Deadlines

HOGS = {
    "regex": 're.match(r"(a+)+$", "a" * 60 + "b")',
    "integer": "10 ** 10 ** 8 % 7",
    "loop in C": "collections.deque(itertools.repeat(0), 0)",
    "wait": "threading.Event().wait()",
    "deaf": "signal.pthread_sigmask(signal.SIG_BLOCK, set(signal.Signals)); collections.deque(itertools.repeat(0), 0)",
}


def hog(code: str, kind: str = "def") -> str:
    return f"""\
import asyncio, collections, itertools, re, signal, threading
{kind} f(completions):
    if "hang" in completions:
        {code}
    return [float(len(c)) for c in completions]
"""


@pytest.mark.parametrize(
    ("code", "kind"), [*((code, "def") for code in HOGS.values()), (HOGS["loop in C"], "async def")]
)
def test_a_reward_that_never_ends_is_ended_at_its_deadline_whatever_it_holds(
    write: Write, process: RewardProcess, code: str, kind: str
) -> None:
    write(hog(code, kind))
    f = process.load("mine.py:f", {})
    pid = process.pid or 0
    message = refusal(f, of=rows("a", "hang"), timeout_s=SHORT_S)
    lines = message.splitlines()
    assert lines[0] == (
        "reward 'mine.py:f' gave no answer within 0.5 s for 2 completions; make it faster, or raise reward_timeout_s"
    )
    assert lines[1] == f"  It is at mine.py, line 4: {code}"
    assert gone(pid)
    assert ask(f, of=rows("a", "bc"))[0] == [[1.0, 2.0]]
    assert process.pid != pid
    assert [end.partition(",")[0] for end in process.ends] == ["reward 'mine.py:f' was not done at its deadline"]


def test_an_async_reward_that_waits_for_ever_is_named_by_the_line_that_it_waits_at(
    write: Write, process: RewardProcess
) -> None:
    write(hog("await asyncio.Event().wait()", "async def"))
    message = refusal(process.load("mine.py:f", {}), of=rows("hang"), timeout_s=SHORT_S)
    assert message.endswith("\n  It is at mine.py, line 4: await asyncio.Event().wait()")


def test_with_zero_a_missed_deadline_counts_the_batch_and_the_run_goes_on(write: Write, process: RewardProcess) -> None:
    write(hog(HOGS["regex"]))
    write("def g(completions):\n    return [5.0] * len(completions)", "other.py")
    f, g = process.load("mine.py:f", {}), process.load("other.py:g", {})
    both = rows("a", "hang", "b")
    assert ask(f, g, of=both, on_error="zero", timeout_s=SHORT_S) == ([[0.0] * 3, [5.0] * 3], [3, 0])
    assert ask(f, g, of=rows("ab"), on_error="zero") == ([[2.0], [5.0]], [0, 0])
    (end,) = process.ends
    assert end == f"reward 'mine.py:f' was not done at its deadline, at mine.py, line 4: {HOGS['regex']}"


def test_a_call_that_another_s_deadline_ends_is_made_again(write: Write, process: RewardProcess) -> None:
    write(hog(HOGS["loop in C"]))
    write(
        """
import asyncio, pathlib
async def g(completions):
    if not pathlib.Path("asked").exists():
        pathlib.Path("asked").touch()
        await asyncio.Event().wait()
    return [5.0] * len(completions)
""",
        "other.py",
    )
    f, g = process.load("mine.py:f", {}), process.load("other.py:g", {})
    assert ask(g, f, of=rows("hang"), on_error="zero", timeout_s=SHORT_S) == ([[5.0], [0.0]], [0, 1])
    assert len(process.ends) == 1


def test_processes_that_a_reward_started_end_with_it(write: Write, process: RewardProcess) -> None:
    write("""
import os, threading
def f(completions):
    child = os.fork()
    if not child:
        threading.Event().wait()
    open("child", "w").write(str(child))
    threading.Event().wait()
""")
    refusal(process.load("mine.py:f", {}), of=rows("a"), timeout_s=SHORT_S)
    assert gone(int(Path("child").read_text()))


def test_the_process_ends_with_the_run_even_while_a_reward_holds_python_s_lock(write: Write, tmp_path: Path) -> None:
    write(f"import os\nopen('pid', 'w').write(str(os.getpid()))\n{hog(HOGS['loop in C'])}")
    program = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_reward_process import *
process = RewardProcess(CONTEXT)
reward = process.load("mine.py:f", {{}})
print("begins", flush=True)
ask(reward, of=rows("hang"))
"""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, env=environment) as run:
        assert run.stdout is not None
        assert run.stdout.readline() == b"begins\n"
        pid = int(Path("pid").read_text())
        before = cpu_ticks(pid)
        while cpu_ticks(pid) < before + 0.2 * os.sysconf("SC_CLK_TCK"):  # until it is at it
            pass
        run.send_signal(signal.SIGKILL)
    assert gone(pid)


# StopConditions

ENDS = {
    "exit": ("os._exit(0)", "ended its process with exit code 0, as os._exit does; a reward must return, or raise"),
    "segfault": ("ctypes.string_at(0)", "crashed its process (SIGSEGV)"),
    "abort": ("os.abort()", "crashed its process (SIGABRT)"),
    "killed": (
        "os.kill(os.getpid(), signal.SIGKILL)",
        "had its process killed (SIGKILL), as the system does where memory runs out",
    ),
}


def ending(code: str, kind: str = "def") -> str:
    return f"""\
import ctypes, os, signal
{kind} f(completions):
    if "end" in completions:
        {code}
    return [float(len(c)) for c in completions]
"""


@pytest.mark.parametrize(
    ("code", "said", "kind"), [*((*end, "def") for end in ENDS.values()), (*ENDS["segfault"], "async def")]
)
def test_a_reward_that_ends_its_process_is_an_error_that_shows_the_line_and_the_completion(
    write: Write, process: RewardProcess, code: str, said: str, kind: str
) -> None:
    write(ending(code, kind))
    f = process.load("mine.py:f", {})
    at = [f"  at mine.py, line 4: {code}"] if "SIGSEGV" in said or "SIGABRT" in said else []
    assert refusal(f, of=rows("a", "bc", "end", "d")).splitlines()[:-1] == [
        f"reward 'mine.py:f' {said}",
        *at,
        "  for completion 2 of problem 'p': 'end'",
    ]
    assert all(end.startswith(f"reward 'mine.py:f' {said}") for end in process.ends)
    assert ask(f, of=rows("a", "bc", "end", "d"), on_error="zero") == ([[1.0, 2.0, 0.0, 1.0]], [1])


@pytest.mark.parametrize("kind", ["def", "async def"])
def test_leaving_the_program_is_an_error_like_others_and_the_process_stays(
    write: Write, process: RewardProcess, kind: str
) -> None:
    write(f"import sys\n{kind} f(completions):\n    sys.exit(0)\n")
    f = process.load("mine.py:f", {})
    pid = process.pid
    assert refusal(f, of=rows("a")).splitlines()[:2] == [
        "reward 'mine.py:f' raised SystemExit: 0",
        "  at mine.py, line 3: sys.exit(0)",
    ]
    assert process.pid == pid
    assert process.ends == []


def test_sys_exit_in_a_task_of_an_async_reward_does_not_stop_the_others(write: Write, process: RewardProcess) -> None:
    write("""
import asyncio, sys
async def one(completion):
    await asyncio.sleep(0)
    if completion == "end":
        sys.exit(0)
    return 1.0
async def f(completions):
    return await asyncio.gather(*[one(c) for c in completions])
""")
    assert ask(process.load("mine.py:f", {}), of=rows("a", "end", "b"), on_error="zero") == ([[1.0, 0.0, 1.0]], [1])
    assert process.ends == []


def test_an_end_between_two_batches_is_noticed_and_told(write: Write, process: RewardProcess) -> None:
    write("def f(completions):\n    return [1.0]")
    f = process.load("mine.py:f", {})
    pid = process.pid or 0
    os.kill(pid, signal.SIGKILL)
    assert gone(pid)
    values, errors = ask(f, of=rows("a"), on_error="zero")
    assert (values, errors) == ([[1.0]], [0])
    assert len(process.ends) == 1
    assert "had its process killed (SIGKILL)" in process.ends[0]


def test_a_file_that_changes_is_not_loaded_anew_in_the_middle_of_a_stage(write: Write, process: RewardProcess) -> None:
    write(ending("os._exit(0)"))
    f = process.load("mine.py:f", {})
    ask(f, of=rows("end"), on_error="zero")
    write(ending("pass"))
    assert refusal(f, of=rows("a"), on_error="zero").startswith(f"{Path('mine.py').resolve()} has changed since")


# Errors


def test_errors_show_the_user_s_line_and_the_completion(write: Write, process: RewardProcess) -> None:
    write("def f(completions):\n    return [float(c) for c in completions]\n")
    f = process.load("mine.py:f", {})
    assert refusal(f, of=rows("1", "two")).splitlines() == [
        "reward 'mine.py:f' raised ValueError: could not convert string to float: 'two'",
        "  at mine.py, line 2: return [float(c) for c in completions]",
        "  for completion 1 of problem 'p': 'two'",
        "  Correct the reward, or set reward_errors: zero to count such completions with the value 0.",
    ]
    assert ask(f, of=rows("1", "two", "3"), on_error="zero") == ([[1.0, 0.0, 3.0]], [1])


@pytest.mark.parametrize(
    ("returned", "said"),
    [
        ("[float('nan')]", "returned nan as a value; it must be a finite number, or None"),
        ("[float('inf')]", "returned inf as a value; it must be a finite number, or None"),
        ("[1e308]", "returned 1e+308 as a value; it must be between -1e+18 and 1e+18, or sums of squares overflow"),
        ("[10 ** 400]", "returned a number too large for a float as a value"),
        ("[1.0, 2.0]", "returned 2 values for 1 completions"),
        ("None", "returned None, not a list"),
    ],
)
def test_values_that_are_none_are_errors_in_words(
    write: Write, process: RewardProcess, returned: str, said: str
) -> None:
    write(f"def f(completions):\n    return {returned}\n")
    assert refusal(process.load("mine.py:f", {}), of=rows("a")).startswith(f"reward 'mine.py:f' {said}")


def test_numbers_come_back_bit_for_bit(write: Write, process: RewardProcess) -> None:
    write("def f(completions):\n    return [0.1 + 0.2, -0.0, 1e-320, None, True, 1 / 3]\n")
    ((*values,),) = ask(process.load("mine.py:f", {}), of=rows(*"abcdef"))[0]
    assert repr(values) == repr([0.1 + 0.2, -0.0, 1e-320, None, 1.0, 1 / 3])


def test_columns_are_required_there_and_again_after_a_new_start(write: Write, process: RewardProcess) -> None:
    write("""
import os
def f(completions, hint):
    if completions == ["end"]:
        os._exit(0)
    return [None if h is None else 1.0 for h in hint]
""")
    f = process.load("mine.py:f", {})
    bare, hinted = rows("a"), rows("b", columns={"hint": "h"})
    with pytest.raises(UserError, match=r"mine\.py:f needs 'hint', which the problems don't have"):
        f.require_columns([bare[0].problem])
    f.require_columns([bare[0].problem, hinted[0].problem])
    assert ask(f, of=bare)[0] == [[None]]
    ask(f, of=rows("end"), on_error="zero")
    assert ask(f, of=bare)[0] == [[None]]
    assert ask(f, of=hinted)[0] == [[1.0]]


# Loading


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("X = 1", "mine.py has no function 'f'; it has none"),
        ("1 / 0", "mine.py cannot be imported: ZeroDivisionError: division by zero\n  mine.py, line 1: 1 / 0"),
        ("import os\nos._exit(0)", "mine.py cannot be imported: it ended its process with exit code 0"),
        ("import ctypes\nctypes.string_at(0)", "mine.py cannot be imported: it crashed its process (SIGSEGV)"),
    ],
)
def test_a_file_that_can_t_be_loaded_is_a_mistake_in_words(
    write: Write, process: RewardProcess, source: str, said: str
) -> None:
    write(source)
    with pytest.raises(UserError) as caught:
        process.load("mine.py:f", {})
    assert str(caught.value).startswith(said)


def test_a_file_that_never_ends_to_load_is_ended(write: Write) -> None:
    write("import collections, itertools\ncollections.deque(itertools.repeat(0), 0)\n")
    with RewardProcess(CONTEXT, load_deadline_s=SHORT_S) as process, pytest.raises(UserError) as caught:
        process.load("mine.py:f", {})
    assert str(caught.value) == (
        "mine.py cannot be imported: it was not done within 0.5 s\n"
        "  It is at mine.py, line 2: collections.deque(itertools.repeat(0), 0)"
    )


def test_a_closed_process_is_gone_and_an_unused_one_never_was(write: Write) -> None:
    write("def f(completions):\n    return [1.0]")
    with RewardProcess(CONTEXT) as process:
        assert process.pid is None
        process.load("mine.py:f", {})
        pid = process.pid or 0
    assert gone(pid)
