"""GPUs by their data sheets, and a cluster of them. Prices are assumptions: rent changes, and ``--price`` sets it.

Left out: what of a data sheet's figures a program sees (``efficiency.py``), CPUs and disks.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from thinkery.types import UserError

GB = 1e9
PCIE_BYTES_PER_S = 25 * GB  # one direction, pinned memory, PCIe 4 or a shared PCIe 5


@dataclass(frozen=True)
class Gpu:
    """One kind of GPU. FLOP/s are of dense bf16 products; links count one direction, ``network`` is a GPU's share."""

    name: str
    flop_per_s: float
    memory: float  # bytes
    bytes_per_s: float  # of its memory
    link_bytes_per_s: float  # to GPUs of its node
    network_bytes_per_s: float  # to other nodes
    usd_per_hour: float


# NVIDIA's data sheets; H800's links and price as DeepSeek states them (arXiv 2412.19437, DeepSeek-R1's cost table).
GPUS = {
    gpu.name: gpu
    for gpu in (
        Gpu("a100", 312e12, 80 * GB, 2039 * GB, 300 * GB, 25 * GB, 1.5),
        Gpu("h100", 989e12, 80 * GB, 3350 * GB, 450 * GB, 50 * GB, 2.5),
        Gpu("h800", 989e12, 80 * GB, 3350 * GB, 200 * GB, 50 * GB, 2.0),
        Gpu("h200", 989e12, 141 * GB, 4800 * GB, 450 * GB, 50 * GB, 3.0),
        Gpu("b200", 2250e12, 180 * GB, 8000 * GB, 900 * GB, 50 * GB, 5.0),
    )
}


@dataclass(frozen=True)
class Cluster:
    """So many GPUs of a kind, in nodes of ``per_node``."""

    gpu: Gpu
    count: int
    per_node: int = 8

    def __post_init__(self) -> None:
        if self.count < 1 or self.per_node < 1:
            raise UserError(f"--gpus {self.count} in nodes of {self.per_node}: both must be at least 1")

    @property
    def wire_bytes_per_s(self) -> float:
        """What reaches a GPU from all the others: the network's share where there are several nodes."""
        return self.gpu.link_bytes_per_s if self.count <= self.per_node else self.gpu.network_bytes_per_s


def gpu_named(name: str) -> Gpu:
    """The GPU of that name. Raises ``UserError`` if it isn't in the table."""
    if name.lower() in GPUS:
        return GPUS[name.lower()]
    close = difflib.get_close_matches(name.lower(), GPUS, n=1)
    hint = f"did you mean {close[0]}?" if close else f"known: {', '.join(GPUS)}"
    raise UserError(f"--gpu {name}: no such GPU; {hint}")
