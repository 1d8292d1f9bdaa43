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

    opener: ClassVar[str]
    checker: ClassVar[str | None] = None


class NativeRolloutSpec(RolloutBackend):
    """Sampling in this process, from the very weights that learn: what a stage does that names no backend."""

    backend: Literal["native"]

    opener: ClassVar[str] = "thinkery.rollout.native.engine:open_rollout"


class VLLMSpec(RolloutBackend):
    """Sampling by vLLM instead of the native engine.

    ``colocate``: its engine in this process, on the policy's device. ``server``: in a process of its own, which the
    run starts with ``server_python`` (None: this Python), or which already listens at ``server_base_url``.
    """

    backend: Literal["vllm"] = "vllm"

    opener: ClassVar[str] = "thinkery.rollout.vllm.rollout:open_rollout"
    checker: ClassVar[str | None] = "thinkery.rollout.vllm.engine:require_for"

    mode: Literal["colocate", "server"] = "colocate"
    gpu_memory_utilization: Probability | None = None  # of the device; None: 0.3 beside a learner, 0.9 in a server
    tensor_parallel_size: PositiveInt = 1  # devices that share the model
    max_model_len: PositiveInt | None = None  # tokens of prompt and completion; None: the model's context
    enforce_eager: bool = False  # no compilation, no CUDA graphs: starts sooner, decodes slower
    enable_sleep_mode: bool = False  # of colocate: frees vLLM's memory while the policy learns; GPUs only
    server_base_url: Annotated[str, Field(pattern=r"^http://\S+$", description="http://host:port")] | None = None
    server_python: str | None = None  # the interpreter of an environment that has vLLM and Thinkery
    server_timeout: PositiveFloat = 240.0  # seconds until a server must be ready

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
