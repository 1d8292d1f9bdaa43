"""Rollout backends as recipes name them: ``rollout: {backend: vllm, mode: server}``.

A backend is one section and one folder; a package registers one of its own, a subclass of ``RolloutBackend``, in the
entry points ``thinkery.rollouts``. vLLM's names are TRL's without ``vllm_``. Left out: what they do (``rollout``).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from thinkery.plugins import load, names_beside
from thinkery.recipe.base import OneOf, Probability, Strict

_OF_A_SERVER = ("server_base_url", "server_python", "server_timeout")


class RolloutBackend(Strict):
    """What samples for a stage. ``backend`` is a literal in the subclass.

    ``opener`` is ``package.module:function``, called as ``f(policy, max_slots, spec) -> ResumableRollout``.
    ``checker``, if any, is called as ``f(spec)`` before anything starts; it raises ``UserError`` if the backend can't
    be had.
    """

    backend: str
    """The name of the backend."""

    opener: ClassVar[str]
    checker: ClassVar[str | None] = None

    @property
    def context(self) -> int | None:
        """Tokens of prompt and completion that it can hold; None: the model's own context."""
        return None


class NativeRolloutSpec(RolloutBackend):
    """Sampling in this process, from the very weights that learn: what a stage does that names no backend."""

    backend: Literal["native"]
    """The backend: this process's own sampler."""

    opener: ClassVar[str] = "thinkery.rollout.native.engine:open_rollout"


class VLLMSpec(RolloutBackend):
    """Sampling by vLLM instead of the native engine.

    ``colocate``: its engine in this process, on the policy's device. ``server``: in a process of its own, which the
    run starts with ``server_python`` (None: this Python), or which already listens at ``server_base_url``.
    """

    backend: Literal["vllm"] = "vllm"
    """The backend: vLLM."""

    opener: ClassVar[str] = "thinkery.rollout.vllm.rollout:open_rollout"
    checker: ClassVar[str | None] = "thinkery.rollout.vllm.engine:require_for"

    mode: Literal["colocate", "server"] = "colocate"
    """The engine is in this process (colocate) or in one of its own (server)."""
    gpu_memory_utilization: Probability | None = None
    """The share of the device's memory it may fill; by default 0.3 beside a learner and 0.9 in a server."""
    tensor_parallel_size: PositiveInt = 1
    """Devices that share the model."""
    max_model_len: PositiveInt | None = None
    """Tokens of prompt and completion together; by default the model's context."""
    enforce_eager: bool = False
    """No compilation and no CUDA graphs: it starts sooner and decodes slower."""
    enable_sleep_mode: bool = False
    """With colocate, vLLM's memory is freed while the policy learns; GPUs only."""
    server_base_url: Annotated[str, Field(pattern=r"^http://\S+$", description="http://host:port")] | None = None
    """The address of a server that already runs."""
    server_python: str | None = None
    """The interpreter of an environment that has vLLM and Thinkery; by default this one."""
    server_timeout: PositiveFloat = 240.0
    """Seconds until a server must be ready."""

    @property
    def context(self) -> int | None:
        """What vLLM is told."""
        return self.max_model_len

    @property
    def memory_share(self) -> float:
        """The share of the device's memory that vLLM may fill with weights and cache."""
        return self.gpu_memory_utilization or (0.3 if self.mode == "colocate" else 0.9)

    @model_validator(mode="after")
    def _check(self) -> Self:
        # A recipe that is written out names every field: what says the default says nothing.
        given = {name for name, field in type(self).model_fields.items() if getattr(self, name) != field.default}
        if self.mode == "colocate":
            for field in _OF_A_SERVER:
                if field in given:
                    raise ValueError(f"{field}: only mode server has one; set mode: server or leave this out")
        elif "enable_sleep_mode" in given:
            raise ValueError("enable_sleep_mode: a server has its own memory; leave this out with mode server")
        if self.server_base_url is not None and self.server_python is not None:
            raise ValueError("server_python: the server at server_base_url is running already; give one of them")
        return self


@cache
def rollout_backends() -> Mapping[str, type[RolloutBackend]]:
    """Every rollout backend by the name that recipes use: the project's own, and those of installed packages."""
    own: dict[str, type[RolloutBackend]] = {"native": NativeRolloutSpec, "vllm": VLLMSpec}
    return {name: own[name] if name in own else load("rollouts", name) for name in names_beside("rollouts", own)}


RolloutSpec = Annotated[RolloutBackend, OneOf("backend", rollout_backends)]
