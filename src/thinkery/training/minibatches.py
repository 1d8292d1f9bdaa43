"""The samples of a step -> the random parts that are learnt from one after another.

The draw is counted from (seed, step, epoch), so a learner that was loaded cuts as the one before it would have.
Left out: how a part is cut to fit the memory (``packing.py``).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from thinkery.training.packing import Tokens
from thinkery.training.steps import counted_generator


def random_parts(samples: Sequence[Tokens], count: int, *, seed: int, step: int, epoch: int) -> list[list[int]]:
    """The samples' indices in ``count`` random parts, as equal in prompts as can be; each in the samples' order.

    Samples of one prompt go to the same part: they share its forward. Fewer prompts than ``count`` give fewer parts.
    """
    groups: dict[tuple[int, ...], list[int]] = {}
    for index, sample in enumerate(samples):
        groups.setdefault(tuple(sample.prompt_ids), []).append(index)
    by_prompt = list(groups.values())
    order = torch.randperm(len(by_prompt), generator=counted_generator(seed, step, epoch, "minibatches"))
    parts = [part.tolist() for part in order.tensor_split(count)]
    return [sorted(index for prompt in part for index in by_prompt[prompt]) for part in parts if part]
