"""A learner's state under names, and how it is read back from the files that the ranks of a cluster wrote.

Each rank writes its part of every tensor (``torch.distributed.checkpoint``); the files know which part is where.
Whoever reads asks for the parts that it needs, so any number of ranks reads what any other number wrote, and a process
without ranks reads it whole. Left out: writing (``cluster/sharded_state.py``), one process's files (``forward.py``).
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from thinkery.training.optimizer import Optimizers
from thinkery.types import UserError

SHARDS = "shards"  # the folder of the ranks' files within a checkpoint
_WEIGHTS, _OPTIMIZER, _REFERENCE = "weights/", "optimizer/", "reference/"


def has_shards(folder: Path) -> bool:
    """Whether a checkpoint was written by the ranks of a cluster."""
    return (folder / SHARDS / ".metadata").exists()


def state_tensors(model: nn.Module, optimizer: Optimizers, reference: nn.Module | None) -> dict[str, Tensor]:
    """Weights, the optimizer's state and the reference's weights; tied weights once. Not copied."""
    tensors = _weights(_WEIGHTS, model)
    for name, _, state in _states(model, optimizer):
        tensors |= {f"{_OPTIMIZER}{name}/{key}": value for key, value in state.items()}
    return tensors if reference is None else tensors | _weights(_REFERENCE, reference)


def read_shards(folder: Path, model: nn.Module, optimizer: Optimizers, reference: nn.Module | None) -> None:
    """Restores what ``state_tensors`` named, in place; of a tensor that is cut up, this rank's part alone.

    Needs no process group: each rank reads for itself. Raises ``UserError`` if it is another model's or if a reference
    is asked for and there is none.
    """
    from torch.distributed.checkpoint.filesystem import FileSystemReader
    from torch.distributed.checkpoint.state_dict_loader import load

    reader = FileSystemReader(folder / SHARDS)
    saved: Mapping[str, Any] = reader.read_metadata().state_dict_metadata
    if reference is not None and not any(key.startswith(_REFERENCE) for key in saved):
        raise UserError(f"{folder} was saved without a reference: its run had beta 0")
    weights = {key: value.size for key, value in saved.items() if key.startswith(_WEIGHTS)}
    if weights != {key: tensor.shape for key, tensor in _weights(_WEIGHTS, model).items()}:
        raise UserError(f"{folder} holds another model's weights: resume with the model the run was started from")
    for name, parameter, state in _states(model, optimizer):
        state.clear()
        start = f"{_OPTIMIZER}{name}/"
        state.update(
            {key.removeprefix(start): _room(parameter, value) for key, value in saved.items() if key.startswith(start)}
        )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is disabled")  # as asked: no_dist
        load(state_tensors(model, optimizer, reference), storage_reader=reader, no_dist=True)


def _weights(prefix: str, model: nn.Module) -> dict[str, Tensor]:
    return {prefix + name: parameter.detach() for name, parameter in model.named_parameters()}


def _states(model: nn.Module, optimizer: Optimizers) -> Iterator[tuple[str, nn.Parameter, dict[str, Any]]]:
    """Name, parameter and optimizer state of all that is learnt."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    for one in optimizer.optimizers:
        for group in one.param_groups:
            for parameter in group["params"]:
                yield names[id(parameter)], parameter, one.state[parameter]


def _room(parameter: nn.Parameter, saved: Any) -> Tensor:
    """An empty tensor for a saved one: like its parameter, or, if it is a counter, on the CPU."""
    if saved.size == parameter.shape:
        return torch.zeros_like(parameter, requires_grad=False)
    return torch.zeros(saved.size, dtype=saved.properties.dtype)
