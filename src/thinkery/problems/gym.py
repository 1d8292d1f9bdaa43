"""Problems made by reasoning-gym (the extra ``gym``): ``gym://chain_sum,countdown``.

A family is admitted if its own scorer can be trusted, which is measured on a sample before anything else: it gives
exactly 1.0 to every answer of its own, and not to an empty answer, to an answer with more text after it, or to the
answers of other problems. A problem's split is decided by the hash of its text, so no text is in both splits whatever
the seeds. Everything depends on (seed, index) alone. Left out: curricula and the families' own settings.
"""

from __future__ import annotations

import ast
import hashlib
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout
from functools import lru_cache
from importlib.util import find_spec
from io import StringIO
from itertools import permutations
from typing import Any

from thinkery.problems.conventions.base import Fields, shown
from thinkery.types import Problem, Split, UserError

GYM = "gym://"
NAMED = "gym"  # the column that names the entry; the verifier makes it anew from that
NAMES = {"family": str, "seed": int, "index": int, "size": int}
ENTRY = "gym_entry"  # what files of earlier versions held: an entry as text that a scorer might evaluate

_EXAMPLE = '{"family": "chain_sum", "seed": 7, "index": 0, "size": 512}'
_CHUNK = 512  # entries a dataset object; some families make all of theirs when they are opened
_TRIES = 64  # candidates a problem, of which the first in the right split counts
_HELD_OUT = 4  # one text in so many is in the test split
_SAMPLE = 8
_MORE = (" and more", "\nand more", " 17")
_MAX_OTHERS = 0.05  # puzzles with several solutions accept some answers of others
_SETS = "goes through sets of words in an order that changes with every process, so a seed does not fix its problems"
_IRREPRODUCIBLE = dict.fromkeys(
    ("isomorphic_strings", "knight_swap", "polynomial_multiplication", "ransom_note", "word_ladder"), _SETS
)

Entry = Mapping[str, Any]
Score = Callable[[str | None, Entry], float]


def require_gym(source: str) -> None:
    """Raises ``UserError`` if the extra is not installed."""
    if find_spec("reasoning_gym") is None:
        raise UserError(f"{source}: making these problems needs the extra gym: pip install 'thinkery[gym]'")


class GymProblems:
    """Problems of some families by index, one family after the other.

    Raises ``UserError`` for a family that does not exist or can't be trusted, with the reason.
    """

    def __init__(self, families: Sequence[str], split: Split, seed: int = 0) -> None:
        require_gym(f"{GYM}{','.join(families)}")
        for family in families:
            reason = why_refused(family)
            if reason:
                raise UserError(f"{GYM}{family}: refused: {reason}")
        self._families, self._split, self._seed = list(families), split, seed

    def __getitem__(self, index: int) -> Problem:
        position, family_index = divmod(index, len(self._families))
        family = self._families[family_index]
        for candidate in range(position * _TRIES, (position + 1) * _TRIES):
            chunk, offset = divmod(candidate, _CHUNK)
            dataset = _dataset(family, _seed_of(self._seed, family, chunk))
            entry = dataset[offset]
            if _split_of(entry["question"]) != self._split:
                continue
            if _is_literal(entry) and _accepts(dataset.score_answer, entry["answer"], entry):
                named = {"family": family, "seed": dataset.seed, "index": offset, "size": _CHUNK}
                return _problem(named, dataset.category, entry, f"gym-{family}-{self._seed}-{candidate}")
        raise UserError(f"{GYM}{family}: none of {_TRIES} candidates for problem {index} is in the split {self._split}")


def require_named(fields: Fields) -> None:
    """A row of a file may name a problem of reasoning-gym, never bring an entry for its scorer.

    Raises ``UserError`` with file, line and what to write instead.
    """
    instead = f"write source: {GYM}family in the recipe, or name the entry: {NAMED}: {_EXAMPLE}"
    if ENTRY in fields.values:
        why = "its scorer might run what it holds as code, so an entry is never taken from a file"
        raise fields.error(ENTRY, f"must not be there: {why}; {instead}")
    named = fields.values.get(NAMED)
    if not isinstance(named, Mapping) or {name: type(value) for name, value in named.items()} != NAMES:
        why = f"verifier: gym judges problems that reasoning-gym made; {instead}"
        raise fields.error(NAMED, f"must name the problem's entry, and is {shown(named)}: {why}")
    require_gym(fields.place)
    reason = why_refused(named["family"])
    if reason:
        raise fields.error(NAMED, f"names a family that is refused: {named['family']}: {reason}")


@lru_cache(maxsize=256)
def why_refused(family: str) -> str:
    """Why a family can't be used; empty if it can."""
    from reasoning_gym.factory import DATASETS

    if family not in DATASETS:
        return f"reasoning-gym has no such family; it has {', '.join(sorted(DATASETS))}"
    if family in _IRREPRODUCIBLE:
        return _IRREPRODUCIBLE[family]
    try:
        dataset = _dataset(family, 0)
        sample = [dataset[index] for index in range(_SAMPLE)]
        again = _open(family, 0)
        if any(again[index] != sample[index] for index in (_SAMPLE - 1, 0)):
            return "the same seed does not give the same problems"
        return _why_distrusted(dataset.score_answer, sample)
    except Exception as error:  # whatever a family raises on its own sample, it can't be used
        return f"it fails on its own problems: {type(error).__name__}: {str(error)[:200]}"


def _why_distrusted(score: Score, sample: Sequence[Entry]) -> str:
    for entry in sample:
        if not isinstance(entry["answer"], str):
            return "its problems come without an answer of their own"
        if not _accepts(score, entry["answer"], entry):
            return "its scorer does not accept its own answer"
        if any(_accepts(score, empty, entry) for empty in ("", " ")):
            return "its scorer accepts an empty answer"
    for more in _MORE:
        if any(_accepts(score, entry["answer"] + more, entry) for entry in sample):
            return f"its scorer accepts an answer followed by {more!r}"
    others = [
        _accepts(score, other["answer"], entry)
        for entry, other in permutations(sample, 2)
        if entry["answer"].strip() != other["answer"].strip()
    ]
    if sum(others) > _MAX_OTHERS * len(others):
        return f"its scorer accepts {sum(others)} of {len(others)} answers of other problems"
    return ""


def _accepts(score: Score, answer: str, entry: Entry) -> bool:
    """Exactly 1.0: many scorers pay for an answer that merely contains the right one. Some print and warn."""
    try:
        with warnings.catch_warnings(), redirect_stdout(StringIO()):
            warnings.simplefilter("ignore")
            return bool(score(answer.strip(), entry) == 1.0)
    except Exception:  # a scorer that can't read an answer does not accept it
        return False


def _problem(named: Mapping[str, Any], category: str, entry: Entry, identity: str) -> Problem:
    return Problem(
        id=identity,
        prompt=entry["question"],
        reference=entry["answer"].strip(),
        domain=category,
        verifier="gym",
        columns={"family": named["family"], NAMED: named},
    )


def _is_literal(entry: Entry) -> bool:
    """Whether the entry survives being written as a Python literal."""
    try:
        return bool(ast.literal_eval(repr(dict(entry))) == dict(entry))
    except (ValueError, SyntaxError):
        return False


def _split_of(text: str) -> str:
    held_out = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") % _HELD_OUT == 0
    return "test" if held_out else "train"


def _seed_of(seed: int, family: str, chunk: int) -> int:
    """Entries of reasoning-gym depend on seed + index, so neighbouring seeds would share almost all of them."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{family}/{chunk}".encode()).digest()[:4], "big") >> 1


@lru_cache(maxsize=64)
def _dataset(family: str, seed: int) -> Any:
    return _open(family, seed)


def _open(family: str, seed: int) -> Any:
    from reasoning_gym.factory import create_dataset

    return create_dataset(family, seed=seed, size=_CHUNK)
