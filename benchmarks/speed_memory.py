"""The peak of what torch allocates while something runs, exactly: not sampled, and no other memory of the process.

On a CPU every allocation and release of torch's allocator is recorded with its time by the profiler, temporary ones
inside operators included; the peak is that of their running sum. The size of the process would not do: the C library
gives memory back when it likes. On CUDA the caching allocator keeps the same count itself. Left out: what kernels'
own libraries take besides (oneDNN's repacked blocks, cuBLAS's workspace).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

from torch import nn
from torch.optim.optimizer import register_optimizer_step_pre_hook
from torch.profiler import ProfilerActivity, profile, record_function

_GRADIENT, _OPTIMIZER = "benchmark: gradient of bytes ", "benchmark: optimizer"


@dataclass(frozen=True)
class Peak:
    """Bytes beyond what was there before (weights, optimizer state) and beyond the gradients of parameters.

    ``activations`` is the peak until the optimizer starts: what forward and backward hold, copies of weights in another
    type and gradients on their way included. ``whole`` is that of everything.
    """

    activations: int
    whole: int


def peak(work: Callable[[], object], model: nn.Module | None = None) -> Peak:
    """The peak of one call on the CPU. ``model`` is the one whose gradients it makes, if it makes any."""
    with (
        _marks(model) if model is not None else nullcontext(),
        profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler,
    ):
        work()
    assert profiler.profiler is not None
    recorded = profiler.profiler.kineto_results  # the tables that the profiler prints know sums, not the order
    assert recorded is not None
    held = activations = whole = 0
    optimizing = False
    for event in sorted(recorded.events(), key=lambda event: event.start_ns()):
        name = event.name()
        if name == "[memory]":
            held += event.nbytes()
        elif name.startswith(_GRADIENT):
            held -= int(name.removeprefix(_GRADIENT))
        elif name == _OPTIMIZER:
            optimizing = True
        whole = max(whole, held)
        activations = activations if optimizing else max(activations, held)
    return Peak(activations, whole)


@contextmanager
def _marks(model: nn.Module) -> Iterator[None]:
    """Writes into the profile when a parameter's gradient has come to stay, and when the optimizer starts."""
    counted: set[nn.Parameter] = set()

    def gradient(parameter: nn.Parameter) -> None:
        if parameter not in counted and parameter.grad is not None:
            counted.add(parameter)
            with record_function(f"{_GRADIENT}{parameter.grad.nbytes}"):
                pass

    def optimizer(*_: object) -> None:
        with record_function(_OPTIMIZER):
            pass

    handles = [p.register_post_accumulate_grad_hook(gradient) for p in model.parameters() if p.requires_grad]
    handles.append(register_optimizer_step_pre_hook(optimizer))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
