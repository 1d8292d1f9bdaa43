"""Whether vLLM holds the policy's weights: sums over tensors that don't depend on how the tensors are laid out.

vLLM fuses projections, cuts them over devices and pads vocabularies. Each element becomes a scrambled 64-bit number,
and a tensor's fingerprint is their sum modulo 2^64: that of a fused tensor is the sum of its parts', and zeros add
nothing. So what vLLM holds can be compared with the policy's own tensors, exactly. It guards against accidents, not
against malice. Left out: the order of elements within a tensor, which only what the model computes can show.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch

from thinkery.rollout.sampling import scramble

_CHUNK = 1 << 22  # elements scrambled at once: 64-bit copies of a large tensor would need four times its memory
_INTEGERS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


@dataclass(frozen=True, slots=True)
class Held:
    """What an engine's model holds, read back from it.

    ``sums`` maps the checkpoint's tensors that make up one of vLLM's to its type and the fingerprints that it may
    have: more than one where devices hold parts or copies. ``unreadable`` are vLLM's tensors that are kept in a form
    of their kernel's own.
    """

    sums: Mapping[tuple[str, ...], tuple[str, tuple[int, ...]]]
    unreadable: tuple[str, ...]

    def require(self, weights: Iterable[tuple[str, torch.Tensor]]) -> int:
        """How many tensors were compared with the policy's. Raises ``RuntimeError`` naming one that differs."""
        own = dict(weights)
        compared = 0
        for names, (dtype, sums) in self.sums.items():
            if not all(name in own for name in names):
                continue  # vLLM's own, or under a name of its own
            expected = sum(tensor_sum(own[name].to(getattr(torch, dtype))) for name in names)
            if signed(expected) not in sums:
                raise RuntimeError(
                    f"vLLM does not hold the policy's {' + '.join(names)} after the handover: the weights were damaged "
                    "on their way, or this vLLM loads them otherwise"
                )
            compared += len(names)
        return compared


def tensor_sum(tensor: torch.Tensor) -> int:
    """The fingerprint of a tensor's elements, a signed 64-bit number. Zeros add nothing."""
    flat = tensor.detach().contiguous().view(-1)
    bits = flat.view(_INTEGERS[flat.element_size()])
    return signed(sum(int(scramble(chunk.long()).sum()) for chunk in bits.split(_CHUNK)))


def signed(value: int) -> int:
    """A number modulo 2^64, as torch writes it."""
    value &= (1 << 64) - 1
    return value - (1 << 64) if value >= 1 << 63 else value
