"""A policy's weights in memory that other processes can map, so that all sample from what one of them learns.

All parameters of a model lie in one file without a name (memfd), each at its place. It costs one open file a model,
and it is not bound to the size of /dev/shm, which containers keep small. What updates the weights must do so in place;
a model whose parameters were put elsewhere since is noticed. Left out: buffers, which travel by value; accelerators.
"""

from __future__ import annotations

import io
import math
import mmap
import os
import pickle
import weakref
from typing import Any

import torch
from torch import nn
from transformers.dynamic_module_utils import init_hf_modules
from transformers.utils import TRANSFORMERS_DYNAMIC_MODULE_NAME  # type: ignore[attr-defined]

# As torch aligns what it allocates: a product of numbers that lie otherwise may be summed in another order.
_ALIGNMENT = 64
_memories: weakref.WeakKeyDictionary[nn.Module, weakref.ref[SharedMemory]] = weakref.WeakKeyDictionary()


class SharedMemory(mmap.mmap):
    """The mapped file of one model's weights. It is kept by the tensors in it, and goes when the last of them goes."""

    descriptor: int
    address: int

    @classmethod
    def of(cls, descriptor: int) -> SharedMemory:
        """Maps a whole file; its descriptor is this memory's from now on."""
        memory = cls(descriptor, os.fstat(descriptor).st_size)
        memory.descriptor = descriptor
        memory.address = torch.frombuffer(memory, dtype=torch.uint8, count=1).data_ptr()
        weakref.finalize(memory, os.close, descriptor).atexit = False
        return memory

    def tensor(self, offset: int, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        """The numbers that lie ``offset`` bytes from the start."""
        return torch.frombuffer(self, dtype=dtype, count=math.prod(shape), offset=offset).view(shape)

    def holds(self, tensor: torch.Tensor) -> bool:
        """Whether the tensor lies in here."""
        return 0 <= tensor.data_ptr() - self.address < len(self)


def share(model: nn.Module) -> None:
    """Moves a model's parameters into memory of their own, where the system has it (Linux) and they are on the CPU.

    The parameters stay the objects they are. Tensors that share memory with them do not follow, so this comes first.
    """
    parameters = list(model.parameters())
    if (
        memory_of(model) is not None
        or {p.device.type for p in parameters} != {"cpu"}
        or not hasattr(os, "memfd_create")
    ):
        return
    offsets, size = [], 0
    for parameter in parameters:
        offsets.append(size)
        size += -(-parameter.nbytes // _ALIGNMENT) * _ALIGNMENT
    descriptor = os.memfd_create("weights")
    os.ftruncate(descriptor, size)
    memory = SharedMemory.of(descriptor)
    for parameter, offset in zip(parameters, offsets, strict=True):
        place = memory.tensor(offset, tuple(parameter.shape), parameter.dtype)
        parameter.data = place.copy_(parameter.detach())
    _memories[model] = weakref.ref(memory)


def memory_of(model: nn.Module) -> SharedMemory | None:
    """The memory that holds all parameters of a model, if there is one."""
    kept = _memories.get(model)
    memory = kept() if kept is not None else None
    return memory if memory is not None and all(map(memory.holds, model.parameters())) else None


def pack(value: object, memory: SharedMemory) -> bytes:
    """Pickles a value around the parameters in it, all of which lie in ``memory``."""
    file = io.BytesIO()
    _Pickler(file, memory).dump(value)
    return file.getvalue()


def unpack(data: bytes, descriptor: int) -> Any:
    """What was packed, around the same memory. The descriptor of its file is this process's to keep from now on."""
    return _Unpickler(io.BytesIO(data), SharedMemory.of(descriptor)).load()


class _Pickler(pickle.Pickler):
    def __init__(self, file: io.BytesIO, memory: SharedMemory) -> None:
        super().__init__(file, pickle.HIGHEST_PROTOCOL)
        self._memory = memory

    def persistent_id(self, value: object) -> tuple[int, tuple[int, ...], torch.dtype, bool] | None:
        if not isinstance(value, nn.Parameter):
            return None
        return value.data_ptr() - self._memory.address, tuple(value.shape), value.dtype, value.requires_grad


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, memory: SharedMemory) -> None:
        super().__init__(file)
        self._memory = memory
        self._parameters: dict[int, nn.Parameter] = {}  # a tied one is one object here as well

    def find_class(self, module: str, name: str) -> Any:
        """A checkpoint's own code that the other process has imported lies where transformers keeps it."""
        if module.startswith(TRANSFORMERS_DYNAMIC_MODULE_NAME):
            init_hf_modules()
        return super().find_class(module, name)

    def persistent_load(self, named: tuple[int, tuple[int, ...], torch.dtype, bool]) -> nn.Parameter:
        offset, shape, dtype, requires_grad = named
        if offset not in self._parameters:
            tensor = self._memory.tensor(offset, shape, dtype)
            self._parameters[offset] = nn.Parameter(tensor, requires_grad=requires_grad)
        return self._parameters[offset]
