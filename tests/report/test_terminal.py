"""What the views print, through real consoles and streams."""

import contextlib
import io
import os
from concurrent.futures import ThreadPoolExecutor

import pytest
from rich.console import Console

from thinkery.report.terminal import (
    PlainView,
    RichView,
    View,
    make_view,
    printable,
    sparkline,
    split_thinking,
)

METRICS = {"reward": 1.25, "accuracy": 0.5, "completions/mean_length": 61.4, "tokens_per_second": 21234.0, "kl": 1e-5}


def a_run(view: View) -> None:
    view.stage("zero", "rl", 3)
    view.progress("checking the reference answers", 5, 10)
    view.progress("checking the reference answers", 10, 10)
    for step in range(1, 4):
        view.step(step, METRICS | {"accuracy": step / 4})
    view.completion("计算 6*7", "<think>[bold]wait\x1b[2J</think> <answer>42</answer>", 2.0, True)
    view.note("a note [red]")
    view.stage_done("zero", {"pass@1": 0.731, "seconds": 412.0, "eval": {"nested": 1}})
    view.close()


def test_plain_lines() -> None:
    stream = io.StringIO()
    a_run(PlainView(stream, interval=0.0))
    lines = stream.getvalue().splitlines()
    assert lines[0] == "== zero (rl, 3 steps)"
    assert lines[1:3] == ["checking the reference answers: 5 of 10", "checking the reference answers: 10 of 10"]
    assert lines[3] == "zero 1/3  reward 1.250  accuracy 25.0%  length 61  KL 1.0e-05  tokens/s 21.2k"
    assert lines[5].endswith("0:00 left")
    assert lines[6:8] == ["-- right, reward 2.00: 计算 6*7", "   <think>[bold]wait [2J</think> <answer>42</answer>"]
    assert lines[8:] == ["a note [red]", "== zero done   pass@1 0.731   took 6:52"]


def test_plain_lines_are_few_when_steps_are_many() -> None:
    stream = io.StringIO()
    view = PlainView(stream, interval=3600.0)
    view.stage("base", "pretrain", 1000)
    for step in range(1, 1001):
        view.step(step, {"loss": 1.0})
    assert [line.split()[1] for line in stream.getvalue().splitlines()[1:]] == ["1/1000", "1000/1000"]


def test_a_narrow_encoding_does_not_end_the_run() -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii", write_through=True)
    a_run(PlainView(stream))
    assert b"?? 6*7" in raw.getvalue()


def test_the_live_view_shows_the_step_and_keeps_the_stage() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=90, height=40, color_system=None)
    view = RichView(console)
    view.stage("zero", "rl", 40)
    for step in range(1, 21):
        view.step(step, METRICS | {"accuracy": step / 40})
    view.completion("What is 6*7?", "<think>[bold]guess 41. wait\x1b[2J</think> 42" + " and so on" * 500, 1.0, False)
    view.progress("evaluating", 3, 8)
    with console.capture() as capture:
        console.print(view._render())
    screen = capture.get()
    for expected in ("zero · rl", "20/40", "left", "accuracy 50.0%", "tokens/s 21.2k", "✗ wrong", "evaluating", "▁"):
        assert expected in screen
    assert "What is 6*7?" in screen
    assert "[bold]guess 41. wait [2J</think> 42" in screen  # markup and control characters are only text
    assert len(screen.splitlines()) < 40
    with console.capture() as capture:
        view.stage_done("zero", {"pass@1": 0.731, "seconds": 412.0})
    view.close()
    assert "✓ zero  pass@1 0.731   took 6:52" in capture.get()
    assert "2.5% ▁" in capture.get()


def test_a_pipe_gets_plain_lines_and_a_terminal_the_live_view() -> None:
    assert isinstance(make_view(Console(file=io.StringIO())), PlainView)
    terminal = Console(file=io.StringIO(), force_terminal=True, _environ={"TERM": "xterm-256color"})
    assert isinstance(make_view(terminal), RichView)
    assert isinstance(make_view(Console(force_terminal=True, _environ={"TERM": "dumb"})), PlainView)


def read_all(descriptor: int) -> str:
    """What comes out of a pseudo-terminal until its other end is closed, which Linux reports as an error."""
    shown = b""
    with contextlib.suppress(OSError):
        while part := os.read(descriptor, 1 << 16):
            shown += part
    return shown.decode(errors="replace")


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="needs a pseudo-terminal")
def test_a_real_terminal() -> None:
    main, terminal = os.openpty()
    with ThreadPoolExecutor(1) as reader, os.fdopen(terminal, "w", encoding="utf-8") as stream:
        everything = reader.submit(read_all, main)  # while it is written: a terminal holds but a few kilobytes
        console = Console(file=stream, width=80, height=24, _environ={"TERM": "xterm-256color"})
        view = make_view(console)
        assert isinstance(view, RichView)
        a_run(view)
        stream.close()
        shown = everything.result(timeout=60)
    os.close(main)
    assert "✓" in shown
    assert "\x1b[2J" not in shown
    assert "a note [red]" in shown


def test_sparkline() -> None:
    assert sparkline([0, 1, 2, 3, 4, 5, 6, 7], 20) == "▁▂▃▄▅▆▇█"
    assert sparkline([0, 0, 7, 7], 2) == "▁█"
    assert sparkline([3.0, 3.0], 10) == "▁▁"
    assert sparkline([float("nan"), 1.0, float("inf"), 2.0], 10) == "▁█"
    assert sparkline([], 10) == sparkline([1.0], 0) == ""


def test_small_helpers() -> None:
    assert split_thinking("<think>a</think>b") == ("<think>a</think>", "b")
    assert split_thinking("never ends") == ("never ends", "")
    assert printable("a\x1b[31m\r\tb\n中") == "a [31m  b\n中"
