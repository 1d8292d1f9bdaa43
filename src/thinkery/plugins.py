"""What installed packages bring by name: problem sources, rewards, verifiers, judges and more.

A package names them in its metadata, as Python entry points; the miniature world and the planner are found in the same
way as somebody's own package (``docs/plugins.md``). An entry point is loaded when its name is first used.
Left out: what the named things must be able to do (the packages that use them say that).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Literal

from thinkery.types import UserError

Kind = Literal["problems", "rewards", "verifiers", "judges", "translators", "stages", "rollouts", "report", "commands"]


@cache
def registered(kind: Kind) -> Mapping[str, EntryPoint]:
    """The entry points of the group ``thinkery.<kind>`` by name. Raises ``UserError`` if two packages claim a name."""
    found: dict[str, EntryPoint] = {}
    for entry in entry_points(group=f"thinkery.{kind}"):
        other = found.setdefault(entry.name, entry)
        if other.value != entry.value:
            raise UserError(
                f"two installed packages register {entry.name!r} in thinkery.{kind}: {_place(other)} and "
                f"{_place(entry)}; uninstall one"
            )
    return dict(sorted(found.items()))


@cache
def load(kind: Kind, name: str) -> Any:
    """What is registered under a name. Raises ``UserError`` if nothing is, or if it can't be imported."""
    entries = registered(kind)
    if name not in entries:
        raise UserError(f"no installed package registers {name!r} in thinkery.{kind}; there are {_listed(entries)}")
    try:
        return entries[name].load()
    except (ImportError, AttributeError) as error:
        raise UserError(f"{name!r} of thinkery.{kind} ({_place(entries[name])}) can't be loaded: {error}") from error


def names_beside(kind: Kind, own: Collection[str]) -> list[str]:
    """The project's ``own`` names, then those of packages. Raises ``UserError`` if a package takes one of our own."""
    entries = registered(kind)
    for name in own:
        if name in entries:
            raise UserError(
                f"an installed package registers {name!r} in thinkery.{kind}, which is a name of Thinkery's own: "
                f"{_place(entries[name])}; it must choose another"
            )
    return [*own, *entries]


def _listed(entries: Mapping[str, EntryPoint]) -> str:
    return ", ".join(entries) or "none"


def _place(entry: EntryPoint) -> str:
    return f"{entry.value} of {entry.dist.name}" if entry.dist is not None else entry.value


def resolve(path: str) -> Any:
    """What ``package.module:name`` means; imported only now, since torch takes seconds."""
    module, _, name = path.partition(":")
    return getattr(import_module(module), name)
