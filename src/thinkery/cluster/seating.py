"""Where workers sit: placement groups with what each worker is given. Left out: what workers do."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import ray
from ray.util.placement_group import PlacementGroup, placement_group, remove_placement_group

from thinkery.cluster.connect import total
from thinkery.cluster.crew import Seat
from thinkery.recipe import ClusterSpec
from thinkery.types import UserError

_PATIENCE_S = 5.0  # before anybody is told that there is no room yet
LEARNER, ROLLOUT, REWARD, REWARD_MODEL = "learner", "rollout", "reward", "reward-model"


@dataclass(frozen=True)
class _Need:
    """What the workers of a kind take, each."""

    count: int
    cpus: float
    gpus: float


class Seating:
    """The seats of all workers. Learners are packed, since they talk to one another; the others are spread."""

    def __init__(self, spec: ClusterSpec, note: Callable[[str], None]) -> None:
        """Waits for room, and says so. Raises ``UserError`` if the cluster has none in time."""
        needs = _needs(spec)
        self._groups: list[PlacementGroup] = []
        self.seats: dict[str, list[Seat]] = {}
        together = (LEARNER, ROLLOUT) if spec.colocate else (LEARNER,)
        self._seat(needs, together, "PACK")
        for kind in (ROLLOUT, REWARD, REWARD_MODEL):
            if kind not in together:
                self._seat(needs, (kind,), "SPREAD")
        deadline = time.monotonic() + spec.start_timeout_s
        if not self._placed(min(_PATIENCE_S, spec.start_timeout_s)):
            wanted = _wanted(needs)
            note(f"waiting for room: {wanted}")
            if not self._placed(deadline - time.monotonic()):
                self.close()
                raise UserError(
                    f"cluster: no room within start_timeout_s = {spec.start_timeout_s:g} s: {wanted}; ask for fewer "
                    "workers, or give each less (cpus, learner_gpus, rollout_gpus)"
                )

    def close(self) -> None:
        """Gives the places back, and ends whatever is in them."""
        for group in self._groups:
            remove_placement_group(group)
        self._groups = []

    def _placed(self, timeout_s: float) -> bool:
        """Whether all groups have their places, waited for so long in all."""
        deadline = time.monotonic() + timeout_s
        return all(group.wait(max(0.0, deadline - time.monotonic())) for group in self._groups)

    def _seat(self, needs: dict[str, _Need], kinds: tuple[str, ...], strategy: str) -> None:
        """A group of bundles, each for one worker of each of the kinds."""
        count = max(needs[kind].count for kind in kinds)
        self.seats |= {kind: [] for kind in kinds}
        if not count:
            return
        wanted = {"CPU": sum(needs[k].cpus for k in kinds), "GPU": sum(needs[k].gpus for k in kinds)}
        group = placement_group([{name: value for name, value in wanted.items() if value}] * count, strategy=strategy)
        self._groups.append(group)
        for kind in kinds:
            need = needs[kind]
            self.seats[kind] = [Seat(group, bundle, need.cpus, need.gpus) for bundle in range(need.count)]


def _needs(spec: ClusterSpec) -> dict[str, _Need]:
    counts = {LEARNER: spec.learners, ROLLOUT: spec.rollouts, REWARD: spec.rewards, REWARD_MODEL: spec.reward_models}
    # Rounded down to what Ray can count, so that the shares fit.
    share = spec.cpus or min(1.0, int(100 * total("CPU") / max(1, sum(counts.values()))) / 100)
    own = (0.5 if spec.colocate else 1.0) if total("GPU") else 0.0
    gpus = {LEARNER: spec.learner_gpus, ROLLOUT: spec.rollout_gpus, REWARD: 0.0, REWARD_MODEL: spec.reward_model_gpus}
    default = {LEARNER: own, ROLLOUT: own, REWARD: 0.0, REWARD_MODEL: 1.0 if total("GPU") else 0.0}
    return {
        kind: _Need(count, share, default[kind] if (given := gpus[kind]) is None else given)
        for kind, count in counts.items()
    }


def _wanted(needs: dict[str, _Need]) -> str:
    cpus, gpus = (sum(need.count * getattr(need, name) for need in needs.values()) for name in ("cpus", "gpus"))
    nodes = sum(node["Alive"] for node in ray.nodes())
    return (
        f"the workers need {cpus:g} CPUs and {gpus:g} GPUs in all, and {nodes} nodes have {total('CPU'):g} CPUs and "
        f"{total('GPU'):g} GPUs"
    )
