"""The run folder, most of it under SIGKILL: a real process is killed before every single file operation it makes."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from thinkery.files import atomic_folder, sha256_of, write_bytes_atomic, write_json_atomic
from thinkery.run import Run
from thinkery.run.tables import COMPLETION_COLUMNS
from thinkery.types import UserError

# Four steps of a stage that adds up its step numbers, with a checkpoint at every second one. Its two files must agree.
STAGE = """
import json, os, signal, sys
from pathlib import Path
from thinkery.machine import installation as machine
from thinkery.run import Run

machine.versions(), machine.hardware(), machine.commit()  # looked up before any fork

def run_stage(folder):
    with Run(folder) as run:
        run.begin("test", 0, "name: test\\n")
        stage = run.stage("zero")
        if stage.is_done({"made": "so"}):
            return
        stage.start({"made": "so"})
        checkpoint = stage.latest_checkpoint()
        step, total = 0, 0
        if checkpoint:
            step = checkpoint[0]
            total = json.loads((checkpoint[1] / "a").read_text())
            assert total == json.loads((checkpoint[1] / "deep" / "b").read_text()) == sum(range(step + 1))
        while step < 4:
            step += 1
            total += step
            stage.log(step, {"total": total})
            if step % 2 == 0:
                def write(place):
                    (place / "a").write_text(json.dumps(total))
                    (place / "deep").mkdir()
                    (place / "deep" / "b").write_text(json.dumps(total))
                stage.save_checkpoint(step, write)
        stage.save_output(lambda place: (place / "model").write_text(json.dumps(total)))
        stage.done({"total": total})
"""

KILL_EVERYWHERE = (
    STAGE
    + """
WRITES = {"open", "os.rename", "os.mkdir", "os.remove", "os.rmdir"}

def child(work):
    pid = os.fork()
    if pid == 0:
        try:
            work()
        except BaseException:
            import traceback
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return os.waitpid(pid, 0)[1]

def killed_before(operation, folder):
    seen = 0
    def hook(event, args):
        nonlocal seen
        if event in WRITES and any(str(folder) in str(arg) for arg in args):
            seen += 1
            if seen == operation:
                os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(hook)
    run_stage(folder)

root = Path(sys.argv[1])
for operation in range(1, 10_000):
    folder = root / str(operation)
    status = child(lambda: killed_before(operation, folder))
    if status == 0:
        break
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL, status
    lines = (folder / "metrics.jsonl").read_text().splitlines() if (folder / "metrics.jsonl").exists() else []
    logged = max([json.loads(line)["step"] for line in lines], default=0)
    there = [int(p.name[5:]) for p in folder.glob("checkpoints/zero/step-*")]
    finished = (folder / "checkpoints/zero/model").exists()
    assert finished or max(there, default=0) >= logged - 2, (operation, logged, there)
    assert child(lambda: run_stage(folder)) == 0, operation
print(operation - 1)
"""
)


# A stage of two files and its metrics is set aside, and done again; a kill leaves the old result in one place whole.
SET_ASIDE = (
    STAGE
    + """
def set_aside(folder):
    with Run(folder) as run:
        run.begin("test", 0, "name: test\\n")
        stage = run.stage("zero")
        if stage.differences({"made": "otherwise"}):
            stage.set_aside()
        if not stage.is_done({"made": "otherwise"}):
            stage.start({"made": "otherwise"})
            stage.save_output(lambda place: (place / "model").write_text("new"))
            stage.done({})
"""
)
KILL_SETTING_ASIDE = (
    SET_ASIDE
    + KILL_EVERYWHERE.removeprefix(STAGE).partition("root = Path")[0]
    + """
import shutil

root = Path(sys.argv[1])
run_stage(root / "0")
with Run(root / "0") as run:
    run.stage("zero").log_completions(1, [{"completion": "old"}])
run_stage = set_aside
for operation in range(1, 10_000):
    folder = root / str(operation)
    shutil.copytree(root / "0", folder)
    status = child(lambda: killed_before(operation, folder))
    if status == 0:
        break
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL, status
    assert child(lambda: set_aside(folder)) == 0, operation
    assert (folder / "checkpoints/zero/model/model").read_text() == "new"
    (old,) = folder.glob("set-aside/*/checkpoints/zero/model/model")
    aside = old.parents[3]
    assert old.read_text() == "10"
    assert len((aside / "metrics.jsonl").read_text().splitlines()) == 4, operation
    assert (aside / "completions/zero-000001.parquet").exists(), operation
    assert not (folder / "completions/zero-000001.parquet").exists(), operation
    assert not (folder / "metrics.jsonl").read_text(), operation
print(operation - 1)
"""
)


DEADLINE_S = 500  # some seconds on a machine that has nothing else to do


@contextmanager
def python(script: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", script, *map(str, arguments)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, stdin=pipe, text=True) as child:
        try:
            yield child
        finally:
            child.kill()


def content(folder: Path) -> dict[str, object]:
    """All that a run folder holds, without times and without what a format stamps into its files."""
    found: dict[str, object] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.suffix == ".parquet":
            found[name] = pq.read_table(path).to_pylist()
        elif path.name == "metrics.jsonl":
            lines = [json.loads(line) for line in path.read_text().splitlines()]
            found[name] = [{key: line[key] for key in line if key != "time"} for line in lines]
        elif path.name in ("manifest.json", "record.json"):
            said = json.loads(path.read_text())
            stage = said["stages"]["zero"] if "stages" in said else said["stage"]
            found[name] = {key: stage[key] for key in stage if key != "seconds"}
        elif path.is_file() and path.name != ".owner.json":
            found[name] = path.read_bytes()
    return found


@pytest.fixture
def in_memory() -> Iterator[Path]:
    """A folder that takes thousands of flushes in no time; what a kill leaves there is what it leaves on a disk."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        yield Path(folder)


@pytest.mark.slow
def test_a_run_killed_before_any_file_operation_ends_like_one_that_was_not(in_memory: Path) -> None:
    with python(KILL_EVERYWHERE, in_memory) as child:
        out, err = child.communicate(timeout=DEADLINE_S)
    assert child.returncode == 0, err
    kills = int(out)
    assert kills > 50  # operations for four lines of metrics, two checkpoints, an output and the manifest
    uninterrupted = content(in_memory / str(kills + 1))
    assert uninterrupted["metrics.jsonl"] == [
        {"stage": "zero", "step": step, "total": sum(range(step + 1))} for step in range(1, 5)
    ]
    kept = [name for name in uninterrupted if name.startswith("checkpoints")]
    assert kept == ["checkpoints/zero/model/model", "checkpoints/zero/record.json"]
    for operation in range(1, kills + 1):
        assert content(in_memory / str(operation)) == uninterrupted, f"killed before operation {operation}"


def test_a_stage_that_is_set_aside_is_lost_by_no_kill(in_memory: Path) -> None:
    with python(KILL_SETTING_ASIDE, in_memory) as child:
        out, err = child.communicate(timeout=DEADLINE_S)
    assert child.returncode == 0, err
    assert int(out) > 20


def test_a_second_owner_is_refused_by_name_until_the_first_dies(tmp_path: Path) -> None:
    hold = """
import sys
from pathlib import Path
from thinkery.run import Run
with Run(Path(sys.argv[1])):
    print("in", flush=True)
    input()
"""
    with python(hold, tmp_path) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == "in\n"
        with pytest.raises(UserError, match=f"in use by process {owner.pid} on "), Run(tmp_path):
            pass
        owner.send_signal(signal.SIGKILL)
    with Run(tmp_path):
        pass


def test_the_same_process_is_a_second_owner_too(tmp_path: Path) -> None:
    with Run(tmp_path / "run"), pytest.raises(UserError, match="in use"), Run(tmp_path / "run"):
        pass
    with Run(tmp_path / "run"):
        pass


def test_a_folder_with_other_things_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(UserError, match="not empty and no run folder"), Run(tmp_path):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
    with pytest.raises(UserError, match="is a file"), Run(tmp_path / "thesis.tex"):
        pass


def test_half_a_line_of_metrics_is_dropped(tmp_path: Path) -> None:
    with Run(tmp_path) as run:
        run.begin("test", 0, "")
        run.stage("zero").log(1, {"reward": 0.5})
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"stage": "zero", "st')
    with Run(tmp_path) as run:
        run.stage("zero").log(2, {"reward": float("nan")})
        assert [(line["step"], line["reward"]) for line in run.metrics()] == [(1, 0.5), (2, None)]


def test_metrics_after_the_checkpoint_are_forgotten_those_of_other_stages_are_not(tmp_path: Path) -> None:
    with Run(tmp_path) as run:
        run.begin("test", 0, "")
        other = run.stage("zero-2")
        other.start({"made": "x"})
        other.log(9, {"reward": 1})
        other.log_completions(9, [])
        stage = run.stage("zero")
        stage.start({"made": "x"})
        for step in (1, 2, 3):
            stage.log(step, {"reward": step})
            stage.log_completions(step, [{"reward": step}])
            if step == 2:
                stage.save_checkpoint(step, lambda folder: (folder / "state").touch())
    with Run(tmp_path) as run:
        stage = run.stage("zero")
        stage.start({"made": "x"})
        assert stage.last_step == 2
        assert [(line["stage"], line["step"]) for line in run.metrics()] == [("zero-2", 9), ("zero", 1), ("zero", 2)]
        kept = sorted(path.stem for path in (tmp_path / "completions").iterdir())
        assert kept == ["zero-000001", "zero-000002", "zero-2-000009"]


def test_a_checkpoint_that_is_still_written_counts_from_the_next_step_on(tmp_path: Path) -> None:
    ended: list[int] = []

    def write(folder: Path, step: int) -> Callable[[], None]:
        def rest() -> None:
            ended.append(step)
            (folder / "state").write_text(str(step))

        return rest

    with Run(tmp_path) as run:
        run.begin("test", 0, "")
        stage = run.stage("zero")
        stage.start({"made": "x"})
        for step in (1, 2):
            stage.log(step, {})
            stage.save_checkpoint(step, partial(write, step=step))
        assert ended == [1]  # at step 2; its own checkpoint goes on
        assert [path.name for path in stage.folder.glob("step-*")] == ["step-000001"]
        stage.log(3, {})
        assert sorted(path.name for path in stage.folder.glob("step-*")) == ["step-000001", "step-000002"]
        stage.save_checkpoint(3, partial(write, step=3))
    with Run(tmp_path) as run:  # the third was killed while it was written
        stage = run.stage("zero")
        stage.start({"made": "x"})
        assert stage.latest_checkpoint() == (2, stage.folder / "step-000002")
        assert (stage.folder / "step-000002" / "state").read_text() == "2"
        assert [line["step"] for line in run.metrics()] == [1, 2]
        assert not list(stage.folder.glob(".*"))


def test_a_checkpoint_whose_rest_fails_leaves_the_one_before_it(tmp_path: Path) -> None:
    def fail() -> None:
        raise UserError("the disk is full")

    with Run(tmp_path) as run:
        run.begin("test", 0, "")
        stage = run.stage("zero")
        stage.start({"made": "x"})
        stage.save_checkpoint(1, lambda folder: None)
        stage.save_checkpoint(2, lambda folder: fail)
        with pytest.raises(UserError, match="the disk is full"):
            stage.log(3, {})
        assert [path.name for path in stage.folder.glob("step*")] == ["step-000001"]


class Sink:
    def __init__(self) -> None:
        self.seen: list[tuple[int, dict[str, float]]] = []

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        self.seen.append((step, dict(metrics)))


def test_sinks_get_the_steps_before_a_resume_and_after(tmp_path: Path) -> None:
    with Run(tmp_path) as run:
        run.begin("test", 0, "")
        stage = run.stage("zero")
        stage.log(1, {"reward": 1.0, "kl": float("inf")})
        run.stage("other").log(1, {"reward": 7.0})
        sink = Sink()
        stage.attach(sink)
        stage.log(2, {"reward": 2.0})
    assert sink.seen == [(1, {"reward": 1.0}), (2, {"reward": 2.0})]


def test_completions_have_all_columns_and_no_others(tmp_path: Path) -> None:
    with Run(tmp_path) as run:
        run.begin("test", 0, "")
        stage = run.stage("zero")
        row = {"problem_id": "p", "index": 3, "correct": True, "reward": 1.2, "completion": "等等 </think>"}
        stage.log_completions(5, [row, {}])
        with pytest.raises(ValueError, match=r"unknown columns \['rewrad'\]"):
            stage.log_completions(6, [{"rewrad": 1.0}])
    table = pq.read_table(tmp_path / "completions" / "zero-000005.parquet")
    assert table.column_names == list(COMPLETION_COLUMNS)
    first, second = table.to_pylist()
    assert row.items() <= first.items()
    assert (first["stage"], first["step"], first["answer"], second["reward"]) == ("zero", 5, None, None)


def test_a_done_stage_is_done_for_what_it_was_made_from_and_for_nothing_else(tmp_path: Path) -> None:
    made, other = {"made": "x"}, {"made": "y"}
    with Run(tmp_path) as run:
        run.begin("test", 0, "")
        stage = run.stage("zero")
        assert not stage.is_done(made)
        stage.start(made)
        assert not stage.is_done(made)
        stage.save_output(lambda folder: write_bytes_atomic(folder / "model", b"weights"))
        stage.done({"pass@1": 0.7})
        assert stage.is_done(made)
        assert not stage.is_done(other)
    with Run(tmp_path) as run:
        stage = run.stage("zero")
        assert stage.is_done(made)
        assert stage.record["summary"] == {"pass@1": 0.7}
        (stage.output / "README.md").write_text("mine")
        assert stage.is_done(made)
        with pytest.raises(UserError, match=r"^zero: made: x -> y$"):
            stage.start(other)
        (stage.output / "model").write_text("tampered")
        assert not stage.is_done(made)
        with pytest.raises(UserError, match=r"^zero: checkpoints/zero/model/model: other checksum$"):
            stage.start(made)
        assert (stage.output / "model").read_text() == "tampered"


def test_the_manifest_says_what_ran_where(tmp_path: Path) -> None:
    for _ in range(2):
        with Run(tmp_path) as run:
            run.begin("test", 3, "name: test\n")
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert (manifest["name"], manifest["seed"], len(manifest["sessions"])) == ("test", 3, 2)
    assert manifest["versions"]["python"] == ".".join(map(str, sys.version_info[:3]))
    assert {"torch", "transformers", "thinkery"} <= manifest["versions"].keys()
    assert manifest["hardware"]["cores"] >= 1
    assert manifest["hardware"]["memory_gib"] > 0


def test_a_failed_write_changes_nothing(tmp_path: Path) -> None:
    def write(text: str, fail: bool) -> None:
        with atomic_folder(tmp_path / "folder") as folder:
            (folder / "file").write_text(text)
            if fail:
                raise OSError("disk full")

    write("old", fail=False)
    with pytest.raises(OSError, match="disk full"):
        write("new", fail=True)
    write_json_atomic(tmp_path / "value.json", 1)
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json_atomic(tmp_path / "value.json", float("nan"))
    assert (tmp_path / "folder" / "file").read_text() == "old"
    assert json.loads((tmp_path / "value.json").read_text()) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "value.json"]


def test_the_hash_of_a_folder_is_of_names_and_contents(tmp_path: Path) -> None:
    hashes = set()
    for name, files in {"a": {"x": "1"}, "b": {"y": "1"}, "c": {"x": "2"}, "d": {"x": "", "1": ""}, "e": {}}.items():
        (tmp_path / name).mkdir()
        for file, text in files.items():
            write_bytes_atomic(tmp_path / name / file, text.encode())
        hashes.add(sha256_of(tmp_path / name))
    assert len(hashes) == 5
    (tmp_path / "a").rename(tmp_path / "moved")
    assert sha256_of(tmp_path / "moved") in hashes
