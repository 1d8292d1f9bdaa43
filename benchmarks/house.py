"""How large the house is, what a newcomer meets, and whether it still makes the same models: results/house.json.

    python benchmarks/house.py --before COMMIT [--rl-loop figures.json]

``src_files`` and ``src_lines`` count the core's sources, without the rooms ``mini`` and ``plan``. ``rl_step_files`` are
those that one step enters (``house_trace.py``). ``new_stage_files`` and ``new_backend_files`` are what the example
package in the tests needs for its own. ``same_weights`` is 1 if ``recipes/nano.yaml`` makes the same models at COMMIT
and here. ``--rl-loop`` takes what ``examples/rl_loop.py --results`` wrote in a run of its whole length, which else is
done now and takes minutes. Left out: whether the tests pass.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path

from recording import RESULTS, ROOT, write_result

SOURCES = (".py", ".cpp", ".h")
NOT_THE_CORE = ("mini", "plan")
PACKAGE = ROOT / "tests" / "plugins" / "example_package"
HELPS = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", required=True, metavar="COMMIT", help="the last commit before the change")
    parser.add_argument("--rl-loop", type=Path, metavar="FILE", help="what examples/rl_loop.py --results wrote")
    options = parser.parse_args()
    files, lines = size_of(ROOT / "src" / "thinkery")
    entered = json.loads(told(sys.executable, "benchmarks/house_trace.py"))
    figures: dict[str, float] = {
        "src_files": files,
        "src_lines": lines,
        "rl_step_files": len(entered),
        "new_stage_files": len(files_behind(PACKAGE, "thinkery.stages")),
        "new_backend_files": len(files_behind(PACKAGE, "thinkery.rollouts")),
        "fast_seconds": seconds("make", "fast"),
        "import_seconds": statistics.median(seconds(command(), "--help") for _ in range(HELPS)),
        "arrows_up": broken_contracts(told(str(Path(sys.executable).parent / "lint-imports"), check=False)),
        "examples_rl_loop_pass1": rl_loop(options.rl_loop)["pass1_after"],
        "same_weights": int(models_at(options.before) == models_at(None)),
    }
    write_result(
        RESULTS / "house.json", f"house.py --before {options.before}", figures, rl_step=entered, before=options.before
    )
    print(json.dumps(figures, indent=2))


def size_of(package: Path) -> tuple[int, int]:
    """How many source files and lines the core has."""
    rooms = [path.relative_to(package) for path in sources_in(package)]
    core = [package / path for path in rooms if path.parts[0] not in NOT_THE_CORE]
    return len(core), sum(len(path.read_text(encoding="utf-8").splitlines()) for path in core)


def sources_in(folder: Path) -> Iterator[Path]:
    """The source files below a folder, without what was compiled."""
    return (path for path in sorted(folder.rglob("*")) if path.suffix in SOURCES and path.is_file())


def files_behind(package: Path, group: str) -> set[str]:
    """The files that a package needs for what it registers in a group of entry points.

    They are its ``pyproject.toml``, the modules that the entry points name, and its own modules that those import.
    """
    project = tomllib.loads((package / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    waiting = [value.partition(":")[0] for value in project["entry-points"][group].values()]
    found = {"pyproject.toml"}
    while waiting:
        path = package / f"{waiting.pop().replace('.', '/')}.py"
        name = str(path.relative_to(package))
        if path.is_file() and name not in found:
            found.add(name)
            waiting += imports_of(path)
    return found


def imports_of(path: Path) -> list[str]:
    """The modules that a file imports, by their whole names."""
    modules = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            modules += [name.name for name in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            modules.append(node.module)
            modules += [f"{node.module}.{name.name}" for name in node.names]
    return modules


def broken_contracts(text: str) -> int:
    """How many contracts lint-imports found broken. Raises ``ValueError`` if it does not say."""
    said = re.search(r"(\d+) kept, (\d+) broken", text)
    if said is None:
        raise ValueError(f"lint-imports said neither what is kept nor what is broken: {text}")
    return int(said[2])


def rl_loop(done: Path | None) -> Mapping[str, float]:
    """What the example measured at its whole length."""
    with tempfile.TemporaryDirectory() as folder:
        if done is None:
            done = Path(folder) / "figures.json"
            told(sys.executable, "examples/rl_loop.py", "--results", str(done))
        figures: Mapping[str, float] = json.loads(done.read_text())
    return figures


def models_at(commit: str | None) -> dict[str, str]:
    """The hashes of all models of ``recipes/nano.yaml`` at a commit; None: in this tree, as it is."""
    with tempfile.TemporaryDirectory() as folder:
        tree = ROOT
        if commit is not None:
            tree = Path(folder) / "tree"
            told("git", "worktree", "add", "--detach", str(tree), commit)
        try:
            run = Path(folder) / "run"
            told(sys.executable, "-m", "thinkery", "run", "recipes/nano.yaml", "--output-dir", str(run), tree=tree)
        finally:
            if commit is not None:
                told("git", "worktree", "remove", "--force", str(tree))
        return hashes_in(run)


def hashes_in(run: Path) -> dict[str, str]:
    """SHA-256 of a run's models, by their places. Raises ``ValueError`` if it made none."""
    weights = sorted((run / "checkpoints").glob("*/model/*.safetensors"))
    if not weights:
        raise ValueError(f"{run} has no models")
    return {str(path.relative_to(run)): hashlib.sha256(path.read_bytes()).hexdigest() for path in weights}


def command() -> str:
    """The command that users type, of this environment."""
    return str(Path(sys.executable).parent / "thinkery")


def seconds(*arguments: str) -> float:
    """How long a command takes, by the clock on the wall."""
    started = time.monotonic()
    told(*arguments)
    return round(time.monotonic() - started, 2)


def told(*arguments: str, tree: Path = ROOT, check: bool = True) -> str:
    """What a command prints, with the code of ``tree``. Raises ``RuntimeError`` with its errors if it fails."""
    environment = os.environ | {"PYTHONPATH": str(tree / "src")}
    done = subprocess.run(arguments, cwd=tree, env=environment, capture_output=True, text=True)
    if check and done.returncode:
        raise RuntimeError(f"{' '.join(arguments)} failed: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.stdout


if __name__ == "__main__":
    main()
