"""The simulated cluster at many sizes: the same rollouts on ever more GPUs, shared out in each of three ways.

How many GPUs sample and how many learn is tried out in short runs, from the work of each side in the colocated run on:
what a side does with more GPUs is not what it did with fewer (a rollout's last rows gain nothing), so no formula says.
Left out: larger batches on larger clusters, which would go on scaling, and learn differently.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from cluster_simulation import WAYS, Resources, Result, Way, Workload, simulate

from thinkery.models.flops import Lengths
from thinkery.plan.cost_models import GpuCluster
from thinkery.plan.decoders import DecoderCosts
from thinkery.plan.hardware import Cluster, Gpu
from thinkery.plan.memory import memory_of

_TRIAL, _STRIDE = 4, 1.3  # rollouts of a short run; from one number of learners to the next
GRADERS_A_GPU = 8  # processor cores beside each


@dataclass(frozen=True)
class Scaled:
    """A way at a size: ``speed`` in completions a second, and the share of all GPUs' time that was worked in."""

    way: Way
    gpus: int
    learners: int
    speed: float
    busy: float
    result: Result


def scale(
    model: DecoderCosts, gpu: Gpu, work: Workload, sizes: Sequence[int], *, staleness: int = 1, seed: int = 0
) -> list[Scaled]:
    """Every way at every size at which the model fits."""
    found: list[Scaled] = []
    short = replace(work, rollouts=min(_TRIAL, work.rollouts))
    for gpus in sizes:
        run = partial(_run, model, gpu, gpus=gpus, staleness=staleness, seed=seed)
        found.append(run(work, way="colocated", learning=gpus))
        sampling, learning = found[-1].result.busy_rollout, found[-1].result.busy_update
        first = round(gpus * learning / (learning + sampling))
        for way in WAYS[1:]:
            learners = best_of(_Trial(run, short, way), first, gpus - 1)
            found.append(run(work, way=way, learning=learners))
    return found


@dataclass(frozen=True)
class _Trial:
    """The speed of a short run by its number of learners."""

    run: Callable[..., Scaled]
    work: Workload
    way: Way

    def __call__(self, learners: int) -> float:
        return self.run(self.work, way=self.way, learning=learners).speed


def best_of(worth: Callable[[int], float], first: int, most: int) -> int:
    """The number from 1 to ``most`` that is worth most, near ``first``: upwards as long as it pays, else downwards."""
    best = min(most, max(1, first))
    value = worth(best)
    for factor in (_STRIDE, 1 / _STRIDE):
        while (next_one := _moved(best, factor, most)) != best and (found := worth(next_one)) > value:
            best, value = next_one, found
    return best


def _moved(number: int, factor: float, most: int) -> int:
    """The number times the factor, at least one further."""
    moved = round(number * factor)
    if moved == number:
        moved += 1 if factor > 1 else -1
    return min(most, max(1, moved))


def _run(
    model: DecoderCosts, gpu: Gpu, work: Workload, *, way: Way, gpus: int, learning: int, staleness: int, seed: int
) -> Scaled:
    sampling = gpus if way == "colocated" else gpus - learning
    resources = resources_of(model, gpu, work, way, sampling, learning)
    result = simulate(work, resources, way, staleness=staleness, seed=seed)
    busy = (result.busy_rollout * sampling + result.busy_update * learning) / (gpus * result.seconds)
    return Scaled(way, gpus, learning, work.completions / result.rollout_s, busy, result)


def resources_of(model: DecoderCosts, gpu: Gpu, work: Workload, way: Way, sampling: int, learning: int) -> Resources:
    """So many GPUs that sample and so many that learn (colocated: the same ones), as the simulation wants them."""
    rollout, learner = GpuCluster(Cluster(gpu, sampling)), GpuCluster(Cluster(gpu, learning))
    row = [Lengths(work.prompt, (max(1, round(work.lengths.mean)),))]
    memory = memory_of(model, rollout, row, microbatch_tokens=0, slots=1, reference=False)
    later = 1 - 1 / work.updates  # parts that meet another policy than the one that sampled them

    def update_s(lengths: Sequence[int]) -> float:
        batch = [Lengths(work.prompt, (length,)) for length in lengths]
        microbatch = max(memory.largest_microbatch, max(lengths))
        frozen = (1 + later) * learner.forward(model, batch)  # under the reference, and under the old policy
        return frozen + learner.update(model, batch, updates=1, microbatch_tokens=microbatch)

    return Resources(
        replicas=max(1, sampling // rollout.replica(model)),
        slots=max(1, memory.largest_slots),
        step_seconds=lambda rows, cached: rollout.step_seconds(model, rows, cached),
        update_s=update_s,
        hand_over_s=rollout.hand_over(model) if way == "colocated" else rollout.weights_s(model),
        graders=GRADERS_A_GPU * (sampling if way == "colocated" else sampling + learning),
    )


def knee(points: Sequence[Scaled]) -> int:
    """Where a way stops scaling: the largest size that is still half as fast a GPU as the smallest one."""
    first = points[0].speed / points[0].gpus
    return max(point.gpus for point in points if point.speed / point.gpus >= first / 2)
