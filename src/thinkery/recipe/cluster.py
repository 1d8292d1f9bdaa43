"""The cluster: how many workers of which kind, how far sampling may run ahead, and how long anything is waited for.

Left out: where the cluster is (``thinkery run --cluster``), and the workers themselves (``thinkery.cluster``).
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from thinkery.recipe.base import Strict
from thinkery.types import Ahead


class ClusterSpec(Strict):
    """Workers on Ray. Each is a process; the numbers are of all nodes together."""

    learners: NonNegativeInt = 2
    """Ranks that learn together; 0 keeps the learner in the driver's process."""
    rollouts: PositiveInt = 2
    """Workers that sample."""
    rewards: PositiveInt = 1
    """Workers that grade."""
    reward_models: NonNegativeInt = 0
    """Workers that hold the reward models alone; 0 lets the reward workers hold them too."""
    colocate: bool = False
    """The rollout worker of a number shares the GPU of the learner of that number."""
    # How far sampling runs ahead
    async_steps: Literal[0, 1] = 0
    """With 1 a step is sampled while the one before it is learnt from."""
    partial: bool = False
    """With `async_steps`, unfinished completions go on under new weights when they come."""
    oversample: Annotated[float, Field(ge=1, le=4)] = 1.0
    """So many times the problems of a step are in progress; it ends when enough are complete, the others go on."""
    # What a worker is given
    cpus: PositiveFloat | None = None
    """Processors of each worker; by default 1, or an equal share where there are fewer."""
    learner_gpus: NonNegativeFloat | None = None
    """GPUs of each learner; by default 1 where the cluster has GPUs."""
    rollout_gpus: NonNegativeFloat | None = None
    """GPUs of each rollout worker; by default 1 where the cluster has GPUs."""
    reward_model_gpus: NonNegativeFloat | None = None
    """GPUs of each reward-model worker; by default 1 where the cluster has GPUs."""
    # The learner's shards
    parallel_head: bool = False
    """Embedding and head are cut up by the vocabulary and never gathered."""
    offload: bool = False
    """Weights, gradient and optimizer lie in the CPU's memory."""
    reduce_every_microbatch: bool = False
    """The gradient is reduced after every microbatch: less memory, more traffic."""
    bucket_mb: PositiveFloat = 64.0
    """MiB of a bucket of weights on its way to the rollout workers."""
    # Deadlines
    start_timeout_s: PositiveFloat = 600.0
    """Seconds for workers to be placed and started with their model."""
    rollout_timeout_s: PositiveFloat = 1800.0
    """Seconds without a sign of work from a worker that samples."""
    update_timeout_s: PositiveFloat = 3600.0
    """Seconds for one update, one checkpoint or one hand-over of weights."""
    collective_timeout_s: PositiveFloat = 600.0
    """Seconds for the ranks to meet."""
    max_restarts: NonNegativeInt = 20
    """Workers that may be lost in all before the run gives up."""
    object_store_mb: PositiveInt = 2048
    """MiB of the object store of a cluster that is started here."""

    @property
    def ahead(self) -> Ahead:
        """What a stage's sampler needs to know."""
        return Ahead(self.async_steps, self.partial, self.oversample)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.colocate and self.async_steps:
            raise ValueError("async_steps: workers that share a GPU take turns; set colocate: false or async_steps: 0")
        if self.colocate and self.rollouts > self.learners:
            raise ValueError(f"colocate: there are {self.rollouts} rollouts and only {self.learners} learners' places")
        if self.partial and not self.async_steps:
            raise ValueError("partial: weights come between two steps while async_steps is 0; leave it out")
        return self
