"""How a stage that samples uses vLLM. Names are TRL's without their ``vllm_``; left out: what they do (``rollout``)."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from thinkery.recipe.base import Probability, Strict

_OF_A_SERVER = ("server_base_url", "server_python", "server_timeout")


class VLLMSpec(Strict):
    """Sampling by vLLM instead of the native engine.

    ``colocate``: its engine in this process, on the policy's device. ``server``: in a process of its own, which the
    run starts with ``server_python`` (None: this Python), or which already listens at ``server_base_url``.
    """

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
        given = self.model_fields_set
        if self.mode == "colocate":
            for field in _OF_A_SERVER:
                if field in given:
                    raise ValueError(f"{field}: only mode server has one; set mode: server or leave this out")
        elif "enable_sleep_mode" in given:
            raise ValueError("enable_sleep_mode: a server has its own memory; leave this out with mode server")
        if self.server_base_url is not None and self.server_python is not None:
            raise ValueError("server_python: the server at server_base_url is running already; give one of them")
        return self
