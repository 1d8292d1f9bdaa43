"""The rollout on vLLM: completions as the native engine would sample them, from vLLM's forward passes.

Before it samples, vLLM gets the policy's weights, if they have changed since; what it then holds is compared with the
policy's. vLLM schedules, caches and computes logits; tokens are drawn with this project's counter-based random numbers
(``draw.py``), so log-probabilities, stops and texts mean what they mean in the native engine, and in float32 the
tokens are the same but for rounding. Left out: how to reach vLLM (``engine.py``, ``remote.py``); policies
whose weights are spread over processes.
"""

from __future__ import annotations

import json
import threading
import uuid
import weakref
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace

import torch

from thinkery.models.attention import CausalLayout, hidden_states
from thinkery.models.loading import Policy
from thinkery.recipe import VLLMSpec
from thinkery.rollout.base import (
    PartialCompletion,
    RolloutBase,
    StopRule,
    check_request,
    completion_key,
    encode,
    require_fresh,
)
from thinkery.rollout.vllm.engine import CompletionRequest, Drawn, DrawRequest, Engine, EngineSettings, engine_for
from thinkery.rollout.vllm.remote import remote_engine_for
from thinkery.types import Completion, Problem, Sampling, UserError

# Where vLLM keeps weights that can't be read back, it must compute what the policy computes: the mean absolute
# difference of log-probabilities over a short completion. bf16 rounds differently in every kernel.
TOLERANCE = {torch.bfloat16: 0.1, torch.float32: 0.01}
_PROBE_PROMPT, _PROBE_TOKENS = 8, 16


@dataclass(frozen=True, slots=True)
class Handover:
    """What came of handing over the weights of a policy's ``version``.

    ``compared`` tensors were read back and are the policy's. ``unreadable`` ones were not; for them there is
    ``difference``, in nats: the mean absolute difference of log-probabilities on a short completion.
    """

    version: int
    compared: int
    unreadable: int
    difference: float | None


class VLLMRollout(RolloutBase):
    """Samples from a policy with vLLM; see ``RolloutBase``.

    ``max_slots`` is how many completions decode at a time. ``max_staleness`` is how many updates the policy may be
    ahead of a completion when it is handed out: 0 where rollout and learner take turns; more only where the learner
    corrects for it (``importance_sampling_correction``). ``handover`` is the last one; where vLLM does not hold the
    policy's weights after it, sampling raises ``RuntimeError``.
    """

    def __init__(self, policy: Policy, *, spec: VLLMSpec, max_slots: int = 512, max_staleness: int = 0) -> None:
        super().__init__(policy, max_slots)
        if spec.mode == "colocate" and (policy.device.index or 0) > 0:
            raise UserError(
                f"rollout.mode = colocate: vLLM takes the first device, and the policy is on {policy.device}; choose "
                "the device with CUDA_VISIBLE_DEVICES and leave the recipe's at auto"
            )
        self.max_staleness = max_staleness
        self.handover: Handover | None = None
        self._opened: Engine | None = None
        self.settings = EngineSettings(
            _configuration(policy), str(policy.compute_dtype).removeprefix("torch."), max_slots, spec
        )
        self._context = spec.max_model_len or getattr(policy.model.config, "max_position_embeddings", None)

    @property
    def bursts(self) -> int:
        """How often vLLM has computed something: a sign of life."""
        return self._opened.steps if self._opened is not None else 0

    def _finish(
        self,
        problems: Sequence[Problem],
        partials: Sequence[PartialCompletion],
        sampling: Sampling,
        keyed_by: tuple[int, str],
        interrupted: threading.Event,
    ) -> Iterator[Completion]:
        check_request(problems, sampling)
        stops = self.ends.asked(sampling)
        stop = self.ends.rule(stops)
        prompts = {problem.id: encode(self.policy, problem, sampling, self._context) for problem in problems}
        if not partials:
            return
        draw_request = DrawRequest(
            [
                CompletionRequest(
                    prompts[partial.problem_id],
                    completion_key(*keyed_by, partial.step, partial.problem_id, partial.index),
                    partial.token_ids,
                )
                for partial in partials
            ],
            sampling,
            self.policy.valid_vocab,
            *stops,
        )
        engine, version = self._engine(), self.policy.version
        try:
            label = self._hand_over(engine)
            with closing(engine.draw(draw_request, label, stop, interrupted)) as drawn:
                completions = self._completions(drawn, draw_request, stop, partials, version)
                yield from require_fresh(completions, self.policy, version, self.max_staleness)
        finally:
            engine.rest()

    def _completions(
        self,
        stream: Iterable[Drawn],
        draw_request: DrawRequest,
        stop: StopRule,
        partials: Sequence[PartialCompletion],
        version: int,
    ) -> Iterator[Completion]:
        for drawn in stream:
            partial = _longer(partials[drawn.number], drawn, version)
            if drawn.reason == "interrupted":
                self.unfinished.append(partial)
                continue
            assert partial.policy_version is not None  # a completion has a token
            stopped = drawn.reason == "stop"
            yield Completion(
                problem_id=partial.problem_id,
                index=partial.index,
                prompt_ids=draw_request.completions[drawn.number].prompt_ids,
                token_ids=partial.token_ids,
                logprobs=partial.logprobs,
                text=stop.text(partial.token_ids, stopped),
                finish_reason="stop" if stopped else "length",
                policy_version=partial.policy_version,
            )

    def _engine(self) -> Engine:
        """This process's engine or a server's, opened for this policy; another rollout may have used it meanwhile."""
        if self.settings.spec.mode == "server":
            self._opened = remote_engine_for(self.settings, self.policy.tokenizer)
        else:
            self._opened = engine_for(self.settings)
        return self._opened

    def _hand_over(self, engine: Engine) -> str:
        """Brings vLLM the policy's weights, unless it has them; returns their label."""
        label = _label(self.policy)
        if engine.label == label:
            return label
        weights = {name: parameter.detach() for name, parameter in self.policy.model.named_parameters()}
        held = engine.receive(weights.items(), label)
        compared = held.require(weights.items())
        difference = None
        if held.unreadable or not compared:
            stop = self.ends.rule(self.ends.asked(Sampling()))
            difference = check_computation(self.policy, engine, label, stop)
        self.handover = Handover(self.policy.version, compared, len(held.unreadable), difference)
        return label


def check_computation(policy: Policy, engine: Engine, label: str, stop: StopRule) -> float:
    """How far vLLM's log-probabilities on a short completion are from the policy's, in nats, on average.

    Raises ``RuntimeError`` if further than rounding explains.
    """
    prompt = tuple(range(0, policy.valid_vocab, policy.valid_vocab // _PROBE_PROMPT))[:_PROBE_PROMPT]
    draw_request = DrawRequest(
        [CompletionRequest(prompt, key=0)], Sampling(max_completion_length=_PROBE_TOKENS), policy.valid_vocab, (), ()
    )
    (drawn,) = engine.draw(draw_request, label, stop, threading.Event())
    ids_1T = torch.tensor([[*prompt, *drawn.token_ids]], device=policy.device)
    with torch.no_grad(), policy.autocast():
        hidden_ND = hidden_states(policy.model, ids_1T, None, CausalLayout())[0, len(prompt) - 1 : -1]
        logits_NV = policy.model.get_output_embeddings()(hidden_ND)[:, : policy.valid_vocab].float()
    expected_N = logits_NV.log_softmax(-1).gather(1, ids_1T[0, len(prompt) :, None])[:, 0].cpu()
    difference = float((expected_N - torch.tensor(drawn.logprobs)).abs().mean())
    if not difference <= TOLERANCE[policy.compute_dtype]:
        raise RuntimeError(
            f"after the handover vLLM's log-probabilities differ from the policy's by {difference:.3g} nats on "
            f"average, {TOLERANCE[policy.compute_dtype]} at most are rounding: it does not compute with these weights, "
            "or not this model"
        )
    return difference


def _longer(partial: PartialCompletion, drawn: Drawn, version: int) -> PartialCompletion:
    """A completion with what vLLM added to it; its version is that of its first token."""
    if not drawn.token_ids:
        return partial
    return replace(
        partial,
        token_ids=partial.token_ids + drawn.token_ids,
        logprobs=partial.logprobs + drawn.logprobs,
        policy_version=version if partial.policy_version is None else partial.policy_version,
    )


def _configuration(policy: Policy) -> str:
    """The model's configuration as vLLM reads it; where it was loaded from is left out, so equal models look equal."""
    config = policy.model.config.to_dict() | {"architectures": [type(policy.model).__name__]}
    config = {name: value for name, value in config.items() if name not in ("_name_or_path", "transformers_version")}
    return json.dumps(config, sort_keys=True)


_names: dict[int, tuple[weakref.ref[Policy], str]] = {}


def _label(policy: Policy) -> str:
    """A name for these very weights: another policy has another, and so has this one once its weights change.

    Beside the version it counts the writes to the tensors, for there are some that make no new version: going back
    to a checkpoint does.
    """
    known = _names.get(id(policy))
    if known is None or known[0]() is not policy:
        known = _names[id(policy)] = weakref.ref(policy), uuid.uuid4().hex[:8]
    writes = sum(parameter._version for parameter in policy.model.parameters())
    return f"{known[1]}/{policy.version}/{writes}"


def open_rollout(policy: Policy, max_slots: int, spec: VLLMSpec) -> VLLMRollout:
    """The rollout of a recipe's section ``rollout: {backend: vllm}``."""
    return VLLMRollout(policy, spec=spec, max_slots=max_slots)
