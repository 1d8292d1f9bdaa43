"""Which policy a worker should have: where its checkpoint is, and what the driver decided about it.

Left out: the weights that a learner has made of it since (``transfer.py``).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from transformers import GenerationConfig

from thinkery.models.loading import Policy, load_policy
from thinkery.models.template import Template
from thinkery.recipe.base import Dtype


@dataclass(frozen=True)
class Load:
    """A policy to be loaded by a worker. ``number`` tells apart those that a run has opened."""

    number: int
    place: str
    template: Template
    device: str
    dtype: Dtype
    generation: GenerationConfig | None  # as the driver has it: a stage may have added what ends a completion

    def policy(self, *, device: str | None = None) -> Policy:
        """Loads it; ``device`` instead of its own."""
        policy = load_policy(self.place, template=self.template, device=device or self.device, dtype=self.dtype)
        if self.generation is not None:
            policy.model.generation_config = self.generation
        return policy


def narrow(threads: int) -> None:
    """Gives torch so many threads in the calling one and those that it starts."""
    torch.set_num_threads(threads)
