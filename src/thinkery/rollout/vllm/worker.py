"""What a process that holds vLLM's model does with new weights: takes them bucket by bucket, and reads them back.

vLLM mixes ``WeightReceiver`` into its worker class and calls it by name, in this process or in those of its devices.
Loading goes through vLLM's layer-wise reload, which brings weights into the form that its kernels read, in the places
that its CUDA graphs know. Left out: quantised weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import nn
from vllm.config import set_current_vllm_config
from vllm.model_executor.model_loader.reload import finalize_layerwise_reload, initialize_layerwise_reload

from thinkery.rollout.vllm.fingerprint import tensor_sum

Sums = dict[tuple[str, ...], tuple[str, int]]  # names in the checkpoint -> type and fingerprint


class WeightReceiver:
    """Methods for vLLM's worker, called with ``collective_rpc``."""

    vllm_config: Any
    model_config: Any
    model_runner: Any

    def thinkery_begin(self) -> None:
        """Makes room for a whole set of weights."""
        self._missing = {name for name, _ in self._model.named_parameters()}  # tied ones once
        with set_current_vllm_config(self.vllm_config):
            initialize_layerwise_reload(self._model)

    def thinkery_take(self, weights: Sequence[tuple[str, torch.Tensor]]) -> None:
        """Takes some of the checkpoint's tensors."""
        with set_current_vllm_config(self.vllm_config), torch.no_grad():
            self._missing -= self._model.load_weights(weights)

    def thinkery_end(self) -> tuple[Sums, list[str]]:
        """Puts the new weights to use. Returns the fingerprints of what can be read back, and what can't.

        Raises ``RuntimeError`` naming a tensor that never came.
        """
        model = self._model
        if self._missing:
            raise RuntimeError(
                f"the handover brought no {min(self._missing)} ({len(self._missing)} of vLLM's tensors are missing)"
            )
        with set_current_vllm_config(self.vllm_config), torch.no_grad():
            finalize_layerwise_reload(model, self.model_config)
            _pack_tied_heads(model)
            return _read_back(model)

    @property
    def _model(self) -> Any:  # an nn.Module with vLLM's load_weights
        return self.model_runner.get_model()


def _pack_tied_heads(model: nn.Module) -> None:
    """On a CPU vLLM multiplies by a packed copy; of a head tied to the embedding, no reload packs the new one."""
    module: Any
    for module in model.modules():
        if hasattr(module, "cpu_linear") and module.weight.numel():
            module.quant_method.process_weights_after_loading(module)


def _read_back(model: nn.Module) -> tuple[Sums, list[str]]:
    sums: Sums = {}
    unreadable = []
    packed = getattr(model, "packed_modules_mapping", {})
    for name, parameter in model.named_parameters():
        if parameter.numel() == 0:  # packed for the CPU's kernel; the original is gone
            unreadable.append(name)
        else:
            sums[tuple(_checkpoint_names(name, packed))] = (
                str(parameter.dtype).removeprefix("torch."),
                tensor_sum(parameter),
            )
    return sums, unreadable


def _checkpoint_names(name: str, packed: dict[str, list[str]]) -> Iterator[str]:
    """The tensors that vLLM keeps under this name: of ``qkv_proj`` those of ``q_proj``, ``k_proj`` and ``v_proj``."""
    for module, parts in packed.items():
        if f".{module}." in name:
            yield from (name.replace(f".{module}.", f".{part}.") for part in parts)
            return
    yield name
