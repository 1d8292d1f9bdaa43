"""What a run folder says of itself: ``manifest.json``, the stages' own records, ``metrics.jsonl``.

Every stage's folder holds its part of the manifest (``record.json``), with what the manifest says of the run. So a
manifest that was lost or cut is put together again. Left out: who owns the folder (``run/folder.py``), what a stage
keeps in it (``stage_run.py``).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from thinkery.files import sha256_of, write_bytes_atomic, write_json_atomic

RECORD = "record.json"
_MANIFEST = "manifest.json"


class Ledger:
    """The records of one run folder. ``notes`` are what its owner should be told: what was put right on the way."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.metrics_path = folder / "metrics.jsonl"
        self.manifest: dict[str, Any] = {}
        self.notes: list[str] = []
        self._sums: dict[tuple[Path, int, int, int], str] = {}

    @property
    def stages(self) -> dict[str, Any]:
        """The stages' records by name."""
        records: dict[str, Any] = self.manifest["stages"]
        return records

    def load(self) -> None:
        """Reads the manifest, or puts it together again. Lines of metrics that are none are put away."""
        self.manifest, note = read_manifest(self.folder)
        self.notes += [note] if note else []
        for name, record in self.stages.items():  # an older Thinkery kept none
            folder, is_done = self._stage_folder(name), record["status"] == "done"
            has_work = is_done or (record["status"] == "running" and folder.exists())
            if has_work and not (folder / RECORD).exists():
                self._save_record(name)
        self._put_away_damaged_lines()

    def save(self, stage: str | None = None) -> None:
        """Writes the manifest, and the record of a stage that has changed."""
        if stage is not None:
            self._save_record(stage)
        write_json_atomic(self.folder / _MANIFEST, self.manifest)

    def checksum(self, path: Path) -> str:
        """A file's checksum; a file that has not changed since is hashed once."""
        status = path.stat()
        key = path, status.st_ino, status.st_size, status.st_mtime_ns
        if key not in self._sums:
            self._sums[key] = sha256_of(path)
        return self._sums[key]

    def metrics(self) -> Iterator[dict[str, Any]]:
        """All lines of ``metrics.jsonl``."""
        for line in self._lines():
            yield json.loads(line)

    def lines_of(self, stage: str) -> bytes:
        """A stage's lines of ``metrics.jsonl`` as they are."""
        return b"".join(line for line in self._lines() if json.loads(line)["stage"] == stage)

    def drop_lines(self, dropped: Callable[[Mapping[str, Any]], bool]) -> None:
        """Takes lines out of ``metrics.jsonl``."""
        lines = self._lines()
        kept = [line for line in lines if not dropped(json.loads(line))]
        if len(kept) < len(lines):
            write_bytes_atomic(self.metrics_path, b"".join(kept))

    def _lines(self) -> list[bytes]:
        return self.metrics_path.read_bytes().splitlines(keepends=True) if self.metrics_path.exists() else []

    def _put_away_damaged_lines(self) -> None:
        """A process killed while it wrote may have left half a line at the end; another line is kept elsewhere."""
        lines = self._lines()
        good = [line for line in lines if _is_line(line)]
        damaged = [line for line in lines if not _is_line(line) and line.endswith(b"\n")]
        if damaged:
            with (self.folder / "metrics.damaged").open("ab") as file:
                file.writelines(damaged)
            self.notes.append(
                f"metrics.jsonl: {len(damaged)} damaged line{'s'[: len(damaged) > 1]} put into metrics.damaged"
            )
        if len(good) < len(lines):
            write_bytes_atomic(self.metrics_path, b"".join(good))

    def _save_record(self, name: str) -> None:
        folder = self._stage_folder(name)
        folder.mkdir(parents=True, exist_ok=True)
        run = {key: value for key, value in self.manifest.items() if key != "stages"}
        place = list(self.stages).index(name)
        write_json_atomic(folder / RECORD, {"name": name, "place": place, "stage": self.stages[name], "run": run})

    def _stage_folder(self, name: str) -> Path:
        return self.folder / "checkpoints" / name


def read_manifest(folder: Path) -> tuple[dict[str, Any], str | None]:
    """A folder's manifest, and what is to be said of it. Put together from the stages' records if it is not whole."""
    path = folder / _MANIFEST
    manifest = _object(path)
    if manifest is not None and isinstance(manifest.get("stages"), dict):
        return manifest, None
    records = [_object(record) for record in sorted((folder / "checkpoints").glob(f"*/{RECORD}"))]
    whole = [record for record in records if record is not None and {"name", "place", "stage", "run"} <= record.keys()]
    whole.sort(key=lambda record: record["place"])
    if not whole and not path.exists():
        return {"created": now(), "sessions": [], "stages": {}}, None
    fault = "is damaged" if path.exists() else "is missing"
    heads = [record["run"] for record in whole] or [{"created": now(), "sessions": []}]
    head = max(heads, key=lambda run: len(run["sessions"]))
    names = ", ".join(record["name"] for record in whole) or "none"
    note = f"{_MANIFEST} {fault}: put together again from the records of the stages ({names})"
    return {**head, "stages": {record["name"]: record["stage"] for record in whole}}, note


def now() -> str:
    """The time as manifests have it."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _object(path: Path) -> dict[str, Any] | None:
    """A JSON object from a file; None if there is none."""
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def _is_line(line: bytes) -> bool:
    if not line.endswith(b"\n"):
        return False
    try:
        value = json.loads(line)
    except ValueError:
        return False
    return isinstance(value, dict) and isinstance(value.get("stage"), str) and isinstance(value.get("step"), int)
