"""The run folder: one owner, a manifest, metrics, completions, checkpoints, models; all written atomically.

    recipe.yaml                     the resolved recipe
    manifest.json                   versions, hardware, commit, seed; status, hashes and seconds of every stage
    metrics.jsonl                   one line a step: stage, step, time, metrics
    completions/<stage>-<step>.parquet
    evaluations/<model>.<set>.parquet   every sample of a held-out evaluation
    checkpoints/<stage>/record.json the stage's part of the manifest, from which a lost one is put together
    checkpoints/<stage>/step-<n>    the last two checkpoints of a stage that is not done
    checkpoints/<stage>/model       its result, in Hugging Face format
    checkpoints/<stage>/data        the result of a stage that makes data
    set-aside/<stage>-<n>           what was there before --force had the stage done again
    tensorboard/<stage>             events
    summary.json  report.html

A killed run loses at most what came after its last checkpoint. Left out: what belongs to a stage
(``stage_run.py``), which stages run (``pipeline.py``), and anything that needs torch.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import filelock

from thinkery.files import remove_leftovers, write_json_atomic, write_text_atomic
from thinkery.machine import installation as machine
from thinkery.machine.exit_status import guarding
from thinkery.run.ledger import Ledger, now
from thinkery.run.stage_run import StageRun
from thinkery.types import UserError

_PATIENCE_S = 10.0  # with an owner that is about to die


class Run:
    """A run folder that this process owns while the ``with`` block lasts.

    Entering raises ``UserError`` if another process owns the folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.recipe_path = folder / "recipe.yaml"
        self.ledger = Ledger(folder)
        self._lock = filelock.FileLock(folder / ".lock", thread_local=False)

    @property
    def manifest(self) -> dict[str, Any]:
        """What ``manifest.json`` holds."""
        return self.ledger.manifest

    def __enter__(self) -> Self:
        self._check_folder()
        self.folder.mkdir(parents=True, exist_ok=True)
        owner_path = self.folder / ".owner.json"
        try:
            self._lock.acquire(timeout=_PATIENCE_S if _is_dying(owner_path) else 0)
        except filelock.Timeout:
            raise UserError(
                f"{self.folder} is in use by {_words(_owner(owner_path))}; stop that or choose another --output-dir"
            ) from None
        try:
            self._take_over(owner_path)
        except BaseException:
            self._lock.release()
            raise
        return self

    def _take_over(self, owner_path: Path) -> None:
        """Signs the folder and clears away what a killed owner left half done."""
        owner = {"pid": os.getpid(), "host": platform.node(), "since": now(), "guard": guarding()}
        write_json_atomic(owner_path, owner)
        remove_leftovers(self.folder)
        self.ledger.load()
        for name, record in list(self.ledger.stages.items()):
            stage = self.stage(name)
            stage.end_leaving()
            if record["status"] == "done":  # a kill may have come between this and the end of its clean-up
                stage.drop_checkpoints()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lock.release()

    def begin(self, name: str, seed: int, recipe_yaml: str, allowed: Mapping[str, bool] | None = None) -> None:
        """Records what is about to run, on which machine, and what the user ``allowed`` this session."""
        write_text_atomic(self.recipe_path, recipe_yaml)
        commit, hardware = machine.commit(), machine.hardware()
        self.manifest.update(name=name, seed=seed, commit=commit, versions=machine.versions(), hardware=hardware)
        session = {"started": now(), "host": hardware["host"], "commit": commit, **(allowed or {})}
        self.manifest["sessions"].append(session)
        self.ledger.save()

    def stage(self, name: str, output: str = "model") -> StageRun:
        """The part of this run that belongs to a stage; ``output`` names the folder of its result."""
        return StageRun(self.ledger, name, output)

    def take_notes(self) -> list[str]:
        """What was put right in the folder since they were last taken, for whoever watches."""
        notes, self.ledger.notes = self.ledger.notes, []
        return notes

    def save_summary(self, summary: Mapping[str, Any]) -> None:
        """Writes ``summary.json``."""
        write_json_atomic(self.folder / "summary.json", summary)

    def metrics(self) -> Iterator[dict[str, Any]]:
        """All lines of ``metrics.jsonl``."""
        return self.ledger.metrics()

    def _check_folder(self) -> None:
        """Refuses a place that holds something else: this class removes what it takes for its own leftovers."""
        if self.folder.exists() and not self.folder.is_dir():
            raise UserError(f"{self.folder} is a file; choose another --output-dir")
        foreign = self.folder.exists() and any(not entry.name.startswith(".") for entry in self.folder.iterdir())
        if foreign and not self.recipe_path.exists():
            raise UserError(f"{self.folder} is not empty and no run folder; choose another --output-dir")


def _owner(path: Path) -> dict[str, Any]:
    """What the last owner said of itself."""
    try:
        owner = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return owner if isinstance(owner, dict) else {}


def _is_dying(owner_path: Path) -> bool:
    """Whether the last owner's guard was killed: then the owner dies as well, and gives the folder back."""
    owner = _owner(owner_path)
    if not owner.get("guard") or owner.get("host") != platform.node():
        return False
    try:
        state = Path(f"/proc/{owner['guard']}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return True
    return state in ("Z", "X")


def _words(owner: Mapping[str, Any]) -> str:
    named = owner.keys() >= {"pid", "host", "since"}
    return "process {pid} on {host} since {since}".format(**owner) if named else "another process"
