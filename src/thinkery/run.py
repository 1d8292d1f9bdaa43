"""The run folder: one owner, a manifest, metrics, completions, checkpoints, models; all written atomically.

    recipe.yaml                     the resolved recipe
    manifest.json                   versions, hardware, commit, seed; status, hashes and seconds of every stage
    metrics.jsonl                   one line a step: stage, step, time, metrics
    completions/<stage>-<step>.parquet
    evaluations/<model>.<set>.parquet   every sample of a held-out evaluation
    checkpoints/<stage>/step-<n>    the last checkpoint of a stage that is not done
    checkpoints/<stage>/model       its result, in Hugging Face format
    checkpoints/<stage>/data        the result of a stage that makes data
    tensorboard/<stage>             events
    summary.json  report.html

A killed run loses at most what came after its last checkpoint. Left out: what a checkpoint contains (the stages know),
which stages run (``pipeline.py``), and anything that needs torch.
"""

from __future__ import annotations

import json
import math
import os
import platform
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import filelock

from thinkery.files import (
    atomic_folder,
    remove_folder,
    remove_leftovers,
    sha256_of,
    write_bytes_atomic,
    write_json_atomic,
    write_text_atomic,
)
from thinkery.machine import installation as machine
from thinkery.types import UserError

COMPLETION_COLUMNS = {
    "stage": "string",
    "step": "int64",
    "problem_id": "string",
    "index": "int64",
    "prompt": "string",
    "completion": "string",
    "thinking": "string",
    "answer": "string",
    "reference": "string",
    "correct": "bool",
    "outcome": "string",
    "reason": "string",
    "reward": "double",
    "advantage": "double",
    "level": "int64",
    "language": "string",
    "length": "int64",
    "finish_reason": "string",
}
SAMPLE_COLUMNS = {
    "problem_id": "string",
    "domain": "string",
    "kind": "string",  # what sort of problem within its domain; null where its source doesn't say
    "level": "int64",
    "language": "string",
    "index": "int64",
    "checked": "bool",  # whether a rule could say right or wrong
    "correct": "bool",
    "answer": "string",  # in normal form
    "well_formed": "bool",
    "truncated": "bool",
    "length": "int64",  # tokens
    "thinking_length": "int64",  # tokens
    "reflections": "int64",  # reflection words in the thinking
    "language_share": "double",  # of the thinking's words in the question's language; null where no word counts
    "preference": "double",  # against the reference: 1 won, 0.5 tied, 0 lost; null where nobody judged
    "safe": "bool",  # null where nobody judged
}
_STEP_FOLDER = re.compile(r"step-(\d+)")


class MetricSink(Protocol):
    """Where metrics go beside ``metrics.jsonl``, for example TensorBoard."""

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Takes the metrics of one step."""


class Run:
    """A run folder that this process owns while the ``with`` block lasts.

    Entering raises ``UserError`` if another process owns the folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.recipe_path = folder / "recipe.yaml"
        self.metrics_path = folder / "metrics.jsonl"
        self.manifest: dict[str, Any] = {}
        self._lock = filelock.FileLock(folder / ".lock", timeout=0, thread_local=False)

    def __enter__(self) -> Self:
        self._check_folder()
        self.folder.mkdir(parents=True, exist_ok=True)
        owner_path = self.folder / ".owner.json"
        try:
            self._lock.acquire()
        except filelock.Timeout:
            raise UserError(
                f"{self.folder} is in use by {_owner(owner_path)}; stop that or choose another --output-dir"
            ) from None
        try:
            self._take_over(owner_path)
        except BaseException:
            self._lock.release()
            raise
        return self

    def _take_over(self, owner_path: Path) -> None:
        """Signs the folder and clears away what a killed owner left half done."""
        write_json_atomic(owner_path, {"pid": os.getpid(), "host": platform.node(), "since": _now()})
        remove_leftovers(self.folder)
        self._drop_torn_line()
        self.manifest = read_json(self.folder / "manifest.json") or {"created": _now(), "sessions": [], "stages": {}}
        for name, record in self.manifest["stages"].items():
            if record["status"] == "done":  # a kill may have come between this and the end of its clean-up
                self.stage(name).drop_checkpoints()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lock.release()

    def begin(self, name: str, seed: int, recipe_yaml: str) -> None:
        """Records what is about to run, and on which machine."""
        write_text_atomic(self.recipe_path, recipe_yaml)
        commit, hardware = machine.commit(), machine.hardware()
        self.manifest |= {"name": name, "seed": seed, "commit": commit, "versions": machine.versions()}
        self.manifest["hardware"] = hardware
        self.manifest["sessions"].append({"started": _now(), "host": hardware["host"], "commit": commit})
        self.save_manifest()

    def stage(self, name: str, output: str = "model") -> StageRun:
        """The part of this run that belongs to a stage; ``output`` names the folder of its result."""
        return StageRun(self, name, output)

    def save_manifest(self) -> None:
        """Writes ``manifest.json``."""
        write_json_atomic(self.folder / "manifest.json", self.manifest)

    def save_summary(self, summary: Mapping[str, Any]) -> None:
        """Writes ``summary.json``."""
        write_json_atomic(self.folder / "summary.json", summary)

    def metrics(self) -> Iterator[dict[str, Any]]:
        """All lines of ``metrics.jsonl``."""
        if self.metrics_path.exists():
            for line in self.metrics_path.read_bytes().splitlines():
                yield json.loads(line)

    def _check_folder(self) -> None:
        """Refuses a place that holds something else: this class removes what it takes for its own leftovers."""
        if self.folder.exists() and not self.folder.is_dir():
            raise UserError(f"{self.folder} is a file; choose another --output-dir")
        foreign = self.folder.exists() and any(not entry.name.startswith(".") for entry in self.folder.iterdir())
        if foreign and not self.recipe_path.exists():
            raise UserError(f"{self.folder} is not empty and no run folder; choose another --output-dir")

    def _drop_torn_line(self) -> None:
        """A process killed while it wrote may have left half a line at the end."""
        if self.metrics_path.exists():
            content = self.metrics_path.read_bytes()
            if not content.endswith(b"\n"):
                write_bytes_atomic(self.metrics_path, content[: content.rfind(b"\n") + 1])


class StageRun:
    """A stage's part of the run folder. A stage that was killed finds here where to go on.

    Steps are numbered by the stage. A checkpoint of step s holds the state after step s: everything logged for later
    steps is forgotten when the stage starts again, and it goes on with step s + 1.
    """

    def __init__(self, run: Run, name: str, output: str) -> None:
        self.name = name
        self.folder = run.folder / "checkpoints" / name
        self.output = self.folder / output
        self.last_step: int | None = None
        self._run = run
        self._sinks: list[MetricSink] = []
        self._begun: tuple[int, ExitStack, Callable[[], None] | None] | None = None  # a checkpoint, not whole yet
        self._started, self._seconds_before = time.monotonic(), 0.0

    @property
    def record(self) -> dict[str, Any]:
        """What the manifest says of this stage: status, inputs, outputs, seconds, summary."""
        record: dict[str, Any] = self._run.manifest["stages"].setdefault(self.name, {"status": "pending"})
        return record

    @property
    def events_folder(self) -> Path:
        """Where TensorBoard's events of this stage belong."""
        return self._run.folder / "tensorboard" / self.name

    def is_done(self, inputs: str) -> bool:
        """Whether the stage has finished from exactly these inputs (a hash) and its result is still what it was."""
        done: bool = self.record["status"] == "done" and self.record["inputs"] == inputs
        return done and self.record["outputs"] == self._hash_of_output()

    def start(self, inputs: str) -> None:
        """Goes on from the last checkpoint, or from nothing if there is none or it was made from other inputs."""
        if self.record.get("inputs") != inputs or self.record["status"] == "done":
            self.forget()
        checkpoint = self.latest_checkpoint()
        self.last_step = checkpoint[0] if checkpoint else None
        self._forget_after(self.last_step)
        self._seconds_before = self.record.get("seconds", 0.0) if checkpoint else 0.0
        self._started = time.monotonic()
        self.record.update(status="running", inputs=inputs, outputs=None, seconds=self._seconds_before)
        self._run.save_manifest()

    def attach(self, sink: MetricSink) -> None:
        """Sends metrics to a sink as well, beginning with those of the steps before this start."""
        for line in self._run.metrics():
            if line.pop("stage") == self.name:
                step = line.pop("step")
                del line["time"]
                sink.log(step, {name: value for name, value in line.items() if value is not None})
        self._sinks.append(sink)

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Appends a step's metrics to ``metrics.jsonl``. Values that are not finite are written as null."""
        self._end_checkpoint()
        finite = {name: float(value) if math.isfinite(value) else None for name, value in metrics.items()}
        line = json.dumps({"stage": self.name, "step": step, "time": round(time.time(), 3)} | finite) + "\n"
        with self._run.metrics_path.open("ab", buffering=0) as file:  # one write: a kill tears the last line at most
            file.write(line.encode())
        for sink in self._sinks:
            sink.log(step, metrics)
        self.last_step = step

    def log_completions(self, step: int, rows: Sequence[Mapping[str, Any]]) -> None:
        """Writes completions with the columns of ``COMPLETION_COLUMNS``; a column that a row lacks is null."""
        path = self._completions_folder / f"{self.name}-{step:06d}.parquet"
        _write_table(path, [{"stage": self.name, "step": step} | dict(row) for row in rows], COMPLETION_COLUMNS)

    def save_samples(self, benchmark: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Writes every sample of an evaluation, with the columns of ``SAMPLE_COLUMNS``; one that a row lacks is null.

        The stage is the evaluation of a model and has its name: ``<model>.eval``.
        """
        _write_table(self._run.folder / "evaluations" / f"{self._model}.{benchmark}.parquet", rows, SAMPLE_COLUMNS)

    def save_checkpoint(self, step: int, write: Callable[[Path], Callable[[], None] | None]) -> None:
        """Keeps the state after a step that has been logged; ``write`` fills an empty folder.

        It may leave files to be written while the next step runs, and return what waits for them: that is called when
        the next step is logged, or earlier if the checkpoint is asked for. The checkpoint counts from then on, and the
        one before it is removed only then.
        """
        self._end_checkpoint()
        opened = ExitStack()
        folder = opened.enter_context(atomic_folder(self.folder / f"step-{step:06d}"))
        with opened:
            rest = write(folder)
            opened = opened.pop_all()
        self._begun = step, opened, rest
        if rest is None:
            self._end_checkpoint()

    def latest_checkpoint(self) -> tuple[int, Path] | None:
        """The step and the folder of the checkpoint to go on from."""
        self._end_checkpoint()
        return max(self._checkpoints(), default=None)

    def _end_checkpoint(self) -> None:
        """Waits for the rest of a checkpoint that is being written, and keeps it."""
        if self._begun is None:
            return
        (step, opened, rest), self._begun = self._begun, None
        before = self._checkpoints()
        with opened:  # an error leaves nothing of it behind
            if rest is not None:
                rest()
        for other, path in before:
            if other != step:
                remove_folder(path)
        self.record["seconds"] = self._seconds()
        self._run.save_manifest()

    def save_output(self, write: Callable[[Path], None]) -> None:
        """Keeps the stage's result; ``write`` fills an empty folder."""
        self._end_checkpoint()
        with atomic_folder(self.output) as folder:
            write(folder)

    def done(self, summary: Mapping[str, Any]) -> None:
        """Marks the stage as finished."""
        outputs, seconds = self._hash_of_output(), self._seconds()
        self.record.update(status="done", outputs=outputs, seconds=seconds, summary=dict(summary))
        self._run.save_manifest()
        self.drop_checkpoints()

    def drop_checkpoints(self) -> None:
        """Removes the checkpoints of a stage that is done."""
        for _, path in self._checkpoints():
            remove_folder(path)

    def forget(self) -> None:
        """Removes all that the run folder holds of this stage."""
        self._run.manifest["stages"].pop(self.name, None)  # first: a kill in between must not leave it done
        self._run.save_manifest()
        remove_folder(self.folder)
        self._forget_after(None)

    @property
    def _model(self) -> str:
        return self.name.removesuffix(".eval")

    def _hash_of_output(self) -> str | None:
        return sha256_of(self.output) if self.output.exists() else None

    @property
    def _completions_folder(self) -> Path:
        return self._run.folder / "completions"

    def _seconds(self) -> float:
        return round(self._seconds_before + time.monotonic() - self._started, 1)

    def _checkpoints(self) -> list[tuple[int, Path]]:
        found = [(_STEP_FOLDER.fullmatch(path.name), path) for path in self.folder.glob("step-*")]
        return sorted((int(match[1]), path) for match, path in found if match)

    def _forget_after(self, last: int | None) -> None:
        """Removes the records of the steps after ``last``, which will be done again (None: of all steps)."""

        def forgotten(step: int) -> bool:
            return last is None or step > last

        lines = list(self._run.metrics())
        kept = [line for line in lines if line["stage"] != self.name or not forgotten(line["step"])]
        if len(kept) < len(lines):
            write_text_atomic(self._run.metrics_path, "".join(json.dumps(line) + "\n" for line in kept))
        for path in self._completions_folder.glob(f"{self.name}-*.parquet"):
            stage, _, step = path.stem.rpartition("-")
            if stage == self.name and forgotten(int(step)):
                path.unlink()
        if last is None and self._model != self.name:
            for path in (self._run.folder / "evaluations").glob(f"{self._model}.*.parquet"):
                path.unlink()
        remove_folder(self.events_folder)  # ``attach`` writes it again from the metrics that are left


def _write_table(path: Path, rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str]) -> None:
    """Writes rows as parquet; a column that a row lacks is null."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    unknown = {column for row in rows for column in row} - columns.keys()
    if unknown:
        raise ValueError(f"unknown columns {sorted(unknown)}")
    schema = pa.schema([(name, pa.type_for_alias(kind)) for name, kind in columns.items()])
    buffer = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist([dict(row) for row in rows], schema), buffer, compression="zstd")
    path.parent.mkdir(exist_ok=True)
    write_bytes_atomic(path, buffer.getvalue())


def read_json(path: Path) -> dict[str, Any] | None:
    """A JSON object from a file; None if there is no such file."""
    try:
        value: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise UserError(f"{path} is damaged ({error}); remove it or choose another --output-dir") from None
    return value


def _owner(path: Path) -> str:
    owner = read_json(path)
    return "process {pid} on {host} since {since}".format(**owner) if owner else "another process"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
