"""A stage's part of the run folder: where a killed stage resumes, and where what it has done is never lost.

A stage that has work in the folder, a result or checkpoints, goes on or is done only if it was made from the same and
if every file is what was written; what differs is said. Such work is not deleted but set aside, on demand:

    set-aside/<stage>-<n>/      as in a run folder: checkpoints, completions, evaluations, metrics.jsonl

Left out: what a checkpoint contains (the stages know), and who decides to set aside (``pipeline.py``).
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from thinkery.files import append_line, atomic_folder, files_under, link_or_copy, remove_folder
from thinkery.machine.interrupts import INTERRUPTS
from thinkery.run.checkpoints import Checkpoints, fault_of
from thinkery.run.inputs import Inputs, changes, hash_of
from thinkery.run.ledger import RECORD, Ledger
from thinkery.run.tables import COMPLETION_COLUMNS, SAMPLE_COLUMNS, write_table
from thinkery.types import UserError

_LEAVING = "leaving"  # of a stage that is being set aside


class MetricSink(Protocol):
    """Where metrics go beside ``metrics.jsonl``, for example TensorBoard."""

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Takes the metrics of one step."""


class StageRun:
    """A stage's part of the run folder. A stage that was killed finds here where to resume.

    Steps are numbered by the stage. A checkpoint of step s holds the state after step s: everything logged for later
    steps is forgotten when the stage starts again, and it resumes with step s + 1.
    """

    def __init__(self, ledger: Ledger, name: str, output: str) -> None:
        self.name = name
        self.folder = ledger.folder / "checkpoints" / name
        self.output = self.folder / output
        self.last_step: int | None = None
        self._ledger = ledger
        self._checkpoints = Checkpoints(self.folder)
        self._sinks: list[MetricSink] = []
        self._started, self._seconds_before = time.monotonic(), 0.0

    @property
    def record(self) -> dict[str, Any]:
        """What the manifest says of this stage: status, inputs, outputs, seconds, summary."""
        record: dict[str, Any] = self._ledger.stages.get(self.name, {"status": "pending"})
        return record

    @property
    def events_folder(self) -> Path:
        """Where TensorBoard's events of this stage belong."""
        return self._ledger.folder / "tensorboard" / self.name

    @property
    def outputs(self) -> str | None:
        """The one hash of a result that is there; None if the stage is not done."""
        return hash_of(self.record["outputs"]) if self.record["status"] == "done" else None

    def is_done(self, inputs: Inputs) -> bool:
        """Whether the stage has finished from exactly these inputs and its result is still what it was."""
        return self.record["status"] == "done" and not self.differences(inputs)

    def differences(self, inputs: Inputs) -> list[str]:
        """Why the work that is here can't be taken for these inputs': what has changed, what is damaged. Empty: it can.

        Empty as well where there is nothing that could be lost. Touches nothing.
        """
        record, checkpoints = self.record, self._checkpoints.all()
        if record["status"] == "pending":
            there = [path for path in files_under(self.folder) if path.name != RECORD]
            return [f"{self.folder} holds files, and no record says what they were made from"] if there else []
        if record["status"] != "done" and not checkpoints and record.get("checkpoint") is None:
            return []
        if "made_from" not in record:
            return ["it was made by an older Thinkery, which did not write down by name what it was made from"]
        found = changes(record["made_from"], inputs)
        return found + (self._damaged_outputs() if record["status"] == "done" else self._damaged_checkpoints())

    def start(self, inputs: Inputs) -> None:
        """Goes on from the last whole checkpoint, or from nothing if there is no work yet.

        Raises ``UserError`` if there is work that these inputs can't resume from.
        """
        if found := self.differences(inputs):
            raise UserError(f"{self.name}: {'; '.join(found)}")
        assert self.record["status"] != "done"
        if self._checkpoints.all():
            self._take_whole_checkpoint()
        checkpoint = self.latest_checkpoint()
        self.last_step = checkpoint[0] if checkpoint else None
        self._forget_after(self.last_step)
        self._seconds_before = self.record.get("seconds", 0.0) if checkpoint else 0.0
        self._started = time.monotonic()
        self._change(
            status="running",
            inputs=hash_of(inputs),
            made_from=dict(inputs),
            outputs=None,
            seconds=self._seconds_before,
            checkpoint=self.last_step,
        )
        self._ledger.save()  # the stage's own record comes with its first work

    def attach(self, sink: MetricSink) -> None:
        """Sends metrics to a sink as well, beginning with those of the steps before this start."""
        for line in self._ledger.metrics():
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
        append_line(self._ledger.metrics_path, line)
        for sink in self._sinks:
            sink.log(step, metrics)
        self.last_step = step

    def log_completions(self, step: int, rows: Sequence[Mapping[str, Any]]) -> None:
        """Writes completions with the columns of ``COMPLETION_COLUMNS``; a column that a row lacks is null."""
        path = self._ledger.folder / "completions" / f"{self.name}-{step:06d}.parquet"
        write_table(path, [{"stage": self.name, "step": step} | dict(row) for row in rows], COMPLETION_COLUMNS)

    def save_samples(self, benchmark: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Writes every sample of an evaluation, with the columns of ``SAMPLE_COLUMNS``; one that a row lacks is null.

        The stage is the evaluation of a model and has its name: ``<model>.eval``.
        """
        model = self.name.removesuffix(".eval")
        write_table(self._ledger.folder / "evaluations" / f"{model}.{benchmark}.parquet", rows, SAMPLE_COLUMNS)

    def save_checkpoint(self, step: int, write: Callable[[Path], Callable[[], None] | None]) -> None:
        """Keeps the state after a step that has been logged; ``write`` fills an empty folder.

        It may leave files to be written while the next step runs, and return what waits for them: that is called when
        the next step is logged, or earlier if the checkpoint is asked for. The checkpoint counts from then on, with the
        one before it; older ones are removed only then.
        """
        with INTERRUPTS.saved():
            self._end_checkpoint()
            self._checkpoints.begin(step, write)
            self.last_step = step
            if self._checkpoints.is_whole:
                self._end_checkpoint()

    def latest_checkpoint(self) -> tuple[int, Path] | None:
        """The step and the folder of the checkpoint to resume from."""
        self._end_checkpoint()
        return max(self._checkpoints.all(), default=None)

    def save_output(self, write: Callable[[Path], None]) -> None:
        """Keeps the stage's result; ``write`` fills an empty folder."""
        self._end_checkpoint()
        with INTERRUPTS.saved(), atomic_folder(self.output) as folder:
            write(folder)

    def done(self, summary: Mapping[str, Any]) -> None:
        """Marks the stage as finished."""
        files = [*files_under(self.output), *self._evaluations()]
        outputs = {path.relative_to(self._ledger.folder).as_posix(): self._ledger.checksum(path) for path in files}
        self._update(status="done", outputs=outputs, seconds=self._seconds(), summary=dict(summary), checkpoint=None)
        self.drop_checkpoints()

    def drop_checkpoints(self) -> None:
        """Removes the checkpoints of a stage that is done."""
        self._checkpoints.drop()

    def set_aside(self) -> Path:
        """Moves all that the run folder holds of this stage to where nothing touches it, and returns that folder."""
        place = self._ledger.folder / "set-aside"
        number = next(n for n in range(1, 10_000) if not (place / f"{self.name}-{n}").exists())
        target = place / f"{self.name}-{number}"
        with atomic_folder(target) as new:  # copies first: a kill loses nothing
            (new / "metrics.jsonl").write_bytes(self._ledger.lines_of(self.name))
            for path in [*self._completions(), *self._evaluations()]:
                copy = new / path.relative_to(self._ledger.folder)
                copy.parent.mkdir(exist_ok=True)
                link_or_copy(path, copy)
        self._ledger.stages[self.name] = {**self.record, "status": _LEAVING, "to": target.name}
        self._ledger.save()
        self._leave()
        return target

    def end_leaving(self) -> None:
        """Ends what a kill has interrupted in ``set_aside``."""
        if self.record["status"] == _LEAVING:
            self._leave()

    def _leave(self) -> None:
        target = self._ledger.folder / "set-aside" / self.record["to"] / "checkpoints"
        if self.folder.exists():
            target.mkdir(exist_ok=True)
            os.replace(self.folder, target / self.name)
        self._forget_after(None)
        del self._ledger.stages[self.name]
        self._ledger.save()

    def _end_checkpoint(self) -> None:
        """Waits for the rest of a checkpoint that is being written, and keeps it."""
        step = self._checkpoints.end()
        if step is not None:
            self._update(seconds=self._seconds(), checkpoint=step)

    def _take_whole_checkpoint(self) -> None:
        """Puts damaged checkpoints out of the way and says so."""
        damaged = self._checkpoints.damaged()
        self._checkpoints.put_damaged_away()
        step, path = self._checkpoints.all()[-1]
        for other, damage in damaged.items():
            self._note(f"checkpoint {other.name} is damaged ({damage}); resuming from {path.name}")
        if not damaged and step < (self.record.get("checkpoint") or 0):
            self._note(f"checkpoint step-{self.record['checkpoint']:06d} is gone; resuming from {path.name}")

    def _update(self, **fields: Any) -> None:
        """Changes the record, in the manifest and in the stage's folder."""
        self._change(**fields)
        self._ledger.save(self.name)

    def _change(self, **fields: Any) -> None:
        self._ledger.stages.setdefault(self.name, {"status": "pending"}).update(fields)

    def _note(self, text: str) -> None:
        self._ledger.notes.append(f"{self.name}: {text}")

    def _damaged_outputs(self) -> list[str]:
        outputs, folder = self.record["outputs"], self._ledger.folder
        faults = {name: fault_of(folder / name, outputs[name], self._ledger.checksum) for name in outputs}
        return [f"{name}: {fault}" for name, fault in faults.items() if fault]

    def _damaged_checkpoints(self) -> list[str]:
        """Nothing, if there is one to resume from."""
        checkpoints, damaged = self._checkpoints.all(), self._checkpoints.damaged()
        if not checkpoints:
            return [f"its checkpoint step-{self.record['checkpoint']:06d} is gone, and there is no other"]
        if len(damaged) < len(checkpoints):
            return []
        return ["no checkpoint is whole", *(f"{path.name}: {damage}" for path, damage in damaged.items())]

    def _completions(self) -> list[Path]:
        """The files of its completions."""
        paths = sorted((self._ledger.folder / "completions").glob(f"{self.name}-*.parquet"))
        return [path for path in paths if path.stem.rpartition("-")[0] == self.name]

    def _evaluations(self) -> list[Path]:
        """The files of its samples, if it is an evaluation."""
        model, dot, _ = self.name.rpartition(".eval")
        return sorted((self._ledger.folder / "evaluations").glob(f"{model}.*.parquet")) if dot else []

    def _seconds(self) -> float:
        return round(self._seconds_before + time.monotonic() - self._started, 1)

    def _forget_after(self, last: int | None) -> None:
        """Removes the records of the steps after ``last``, which will be done again (None: of all steps)."""

        def forgotten(step: int) -> bool:
            return last is None or step > last

        self._ledger.drop_lines(lambda line: line["stage"] == self.name and forgotten(line["step"]))
        for path in self._completions():
            if forgotten(int(path.stem.rpartition("-")[2])):
                path.unlink()
        if last is None:
            for path in self._evaluations():
                path.unlink()
        remove_folder(self.events_folder)  # ``attach`` writes it again from the metrics that are left
