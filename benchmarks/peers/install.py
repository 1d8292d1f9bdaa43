"""The environments of the peers, each with its own versions: ``.peers/trl`` and ``.peers/vllm``.

    python benchmarks/peers/install.py

What is pinned stands beside this file, in ``trl.txt`` and ``vllm.txt``; an environment is made anew when its pins
change. Packages come from wherever pip is configured to find them. Left out: GPU builds.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import venv
from pathlib import Path

HERE = Path(__file__).resolve().parent
FOLDER = HERE.parents[1] / ".peers"
# vLLM asks for these in builds that don't fit the CPU build of torch, and imports them if they are there.
UNWANTED = {"vllm": ("torchvision", "torchaudio", "torchcodec")}


def python_of(peer: str) -> Path:
    """The interpreter of a peer's environment, which is made first if it isn't there (minutes)."""
    pins, folder = HERE / f"{peer}.txt", FOLDER / peer
    python, installed = folder / "bin" / "python", folder / "installed.txt"
    if not installed.exists() or installed.read_text() != pins.read_text():
        print(f"Installing {peer} into {folder}: a few minutes, once.", file=sys.stderr)
        shutil.rmtree(folder, ignore_errors=True)
        venv.create(folder, symlinks=True)  # without pip: this environment's works on it
        pip(python, "install", "--requirement", str(pins))
        if peer in UNWANTED:
            pip(python, "uninstall", "--yes", *UNWANTED[peer])
        shutil.copyfile(pins, installed)
    return python


def pins(peer: str) -> list[str]:
    """What is installed for a peer, as ``package==version``."""
    lines = (HERE / f"{peer}.txt").read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def pip(python: Path, command: str, *arguments: str) -> None:
    """This environment's pip, at work on another's packages."""
    subprocess.run([sys.executable, "-m", "pip", "--quiet", "--python", python, command, *arguments], check=True)


if __name__ == "__main__":
    for name in ("trl", "vllm"):
        python_of(name)
