"""The simulated cluster at many sizes: the same rollouts on ever more GPUs, shared out in each of three ways.

How many GPUs sample and how many learn is set by the work of each side, in GPU-seconds of the colocated run: in turns,
``R / x + L / (1 - x)`` is least where x is to 1 - x as the root of R to the root of L; side by side, where both sides
take as long. Left out: larger batches on larger clusters, which would go on scaling, and learn differently.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from thinkery.models.work import Lengths
from thinkery.planning.decoders import Decoder
from thinkery.planning.engines import GpuCluster
from thinkery.planning.hardware import Cluster, Gpu
from thinkery.planning.memory import memory_of
from thinkery.planning.simulate import WAYS, Resources, Result, Way, Workload, simulate

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
    model: Decoder, gpu: Gpu, work: Workload, sizes: Sequence[int], *, staleness: int = 1, seed: int = 0
) -> list[Scaled]:
    """Every way at every size at which the model fits."""
    found: list[Scaled] = []
    for gpus in sizes:
        colocated = _run(model, gpu, work, "colocated", gpus, gpus, gpus, staleness, seed)
        found.append(colocated)
        sampling, learning = colocated.result.busy_rollout, colocated.result.busy_update
        for way in WAYS[1:]:
            power = 0.5 if way == "split" else 1.0
            share = learning**power / (learning**power + sampling**power)
            learners = min(gpus - 1, max(1, round(share * gpus)))
            found.append(_run(model, gpu, work, way, gpus, gpus - learners, learners, staleness, seed))
    return found


def _run(
    model: Decoder,
    gpu: Gpu,
    work: Workload,
    way: Way,
    gpus: int,
    sampling: int,
    learning: int,
    staleness: int,
    seed: int,
) -> Scaled:
    resources = resources_of(model, gpu, work, way, sampling, learning)
    result = simulate(work, resources, way, staleness=staleness, seed=seed)
    busy = (result.busy_rollout * sampling + result.busy_update * learning) / (gpus * result.seconds)
    return Scaled(way, gpus, learning, work.completions / result.rollout_s, busy, result)


def resources_of(model: Decoder, gpu: Gpu, work: Workload, way: Way, sampling: int, learning: int) -> Resources:
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
