"""Rows of data sets: from the Hugging Face Hub, or from a folder that ``datasets`` saved.

``datasets`` (the extra ``hub``) does the work and keeps its cache; rows are read from its memory map one by one. Left
out: streaming from the network, and what the columns mean (``columns.py``).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from thinkery.problems.files import Row
from thinkery.types import UserError

HUB = "hub://"
_NAME = re.compile(r"(?:hub://)?(?P<name>[\w.-]+/[\w.-]+)(?::(?P<config>[\w.-]+))?")
_SAVED = ("dataset_info.json", "dataset_dict.json", "state.json")


def is_hub_name(source: str) -> bool:
    """Whether a source has the form ``owner/name`` or ``owner/name:config``."""
    return _NAME.fullmatch(source) is not None


def hub_rows(source: str, split: str) -> Iterator[Row]:
    """The rows of a data set of the Hub. Raises ``UserError`` if it is not to be had, with what to do."""
    match = _NAME.fullmatch(source)
    if match is None:
        raise UserError(f"{source}: write a data set of the Hub as owner/name or owner/name:config")
    return _rows(f"{source} [{split}]", _load(source, match["name"], match["config"], split))


def folder_rows(folder: Path, split: str) -> Iterator[Row]:
    """The rows of a folder: saved by ``save_to_disk``, or holding files of one data set as the Hub keeps them."""
    require_datasets(str(folder))
    if not any((folder / name).exists() for name in _SAVED):
        return _rows(f"{folder} [{split}]", _load(str(folder), str(folder.resolve()), None, split))
    import datasets

    try:
        saved: Any = datasets.load_from_disk(folder)
    except Exception as error:
        raise UserError(f"{folder}: not a data set that save_to_disk wrote: {_first_line(error)}") from None
    if isinstance(saved, Mapping):
        if split not in saved:
            raise UserError(f"{folder}: has no split {split!r}; its splits are {', '.join(map(str, saved))}")
        return _rows(f"{folder} [{split}]", saved[split])
    return _rows(str(folder), saved)


def require_datasets(source: str) -> None:
    """Raises ``UserError`` if the extra is not installed."""
    from importlib.util import find_spec

    if find_spec("datasets") is None:
        raise UserError(f"{source}: reading data sets needs the extra hub: pip install 'thinkery[hub]'")


def _load(source: str, path: str, config: str | None, split: str) -> Any:
    """A split of a data set. Whatever goes wrong in there is about the data, the name or the network."""
    require_datasets(source)
    import datasets

    try:
        return datasets.load_dataset(path, config, split=split)
    except Exception as error:
        name = type(error).__name__
        if isinstance(error, ConnectionError) or "Offline" in name or os.environ.get("HF_HUB_OFFLINE") == "1":
            advice = (
                "it is not in the cache and the Hub can't be reached; load it once while online, or give a local file"
            )
            raise UserError(f"{source}: {advice} ({name}: {_first_line(error)})") from None
        advice = "check the name, the config and the split, and that you are logged in if it is gated"
        raise UserError(f"{source} [{split}]: {_first_line(error)} ({name}); {advice}") from None


def _rows(place: str, dataset: Any) -> Iterator[Row]:
    if not len(dataset):
        raise UserError(f"{place}: empty")
    for number, values in enumerate(dataset, start=1):
        yield Row(f"{place}, row {number}", number, parsed=dict(values))


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
