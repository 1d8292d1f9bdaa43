"""Supervised fine-tuning: cold start, the 800k set (from the base again), distillation into students.

Demonstrations are rendered by the template that the result keeps, closed with the token at which the rollout stops,
and learnt by ``training.sft``. DeepSeek-R1, sections 2.3.1, 2.3.3 and 2.4. Left out: how demonstrations are read
(``problems.demonstrations``) and made (the stage ``collect``).
"""

from __future__ import annotations

import json
from array import array
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from thinkery.machine.interrupts import INTERRUPTS
from thinkery.models.flops import policy_shape, update_compute
from thinkery.models.loading import Policy
from thinkery.problems.bad_rows import SHOWN
from thinkery.problems.demonstrations import read_demonstrations
from thinkery.recipe import SFTStage
from thinkery.stages.boundary import stop_between
from thinkery.stages.context import StageContext
from thinkery.stages.learner_fields import LearnerFields
from thinkery.stages.runtime import TextLearner
from thinkery.stages.step_metrics import UPDATE, lengths_of, pace, work_metrics
from thinkery.training.sft import Example, SFTConfig
from thinkery.types import Demonstration, UserError

LEARNER_FIELDS = LearnerFields(
    SFTConfig,
    SFTStage,
    given={"seed"},
    others={"from_", "data", "template", "max_length", "save_steps"},
)
_CHUNK = 512  # demonstrations tokenized at once


def run_sft(stage: SFTStage, context: StageContext) -> dict[str, Any]:
    """Fits the model that ``stage.from_`` names to the demonstrations and saves it.

    Returns the loss of the first and of the last update (nats a token), and what was learnt: how many demonstrations,
    of which domains, how many were too long, tokens (prompts included, over all epochs), updates.
    """
    demonstrations = read_demonstrations(
        stage.data, context.resolve, lambda text: context.view.note(f"{stage.name}: {text}")
    )
    policy = context.runtime.policy(
        context.resolve(stage.from_),
        template=context.template_of(stage.from_, stage.template),
        device=stage.device,
        dtype=stage.dtype,
    )
    stop_where_demonstrations_end(policy)
    encoded = _encode(stage, context, policy, demonstrations)
    learner = context.runtime.supervised(policy, encoded.examples, learner_config(stage, context.seed))
    context.view.note(f"{stage.name}: {encoded.summary()}")
    context.view.expect(learner.total_updates)
    first_loss, last_loss = _train(stage, context, policy, learner)
    context.run.save_output(learner.export)
    return {
        "loss_first": first_loss,
        "loss": last_loss,
        "demonstrations": len(encoded.examples),
        "left_out": encoded.too_long,
        "tokens": learner.tokens,
        "updates": learner.total_updates,
        "domains": dict(sorted(encoded.domains.items())),
    }


def stop_where_demonstrations_end(policy: Policy) -> None:
    """Makes the token that demonstrations end with one of those that every engine stops at, here and after saving.

    Base models of Qwen know ``<|im_end|>`` and don't stop at it; their instruct models do.
    """
    generation = policy.model.generation_config
    if generation is None:
        raise UserError(f"{policy.model.name_or_path} has no generation config: is it a causal language model?")
    end, known = policy.end_token_id, generation.eos_token_id
    ends = [] if known is None else known if isinstance(known, list) else [known]
    if end not in ends:
        generation.eos_token_id = [*ends, end] if ends else end


@dataclass
class Encoded:
    """Demonstrations as token ids. Those longer than ``limit`` tokens are counted and left out."""

    limit: int
    examples: list[Example]
    domains: Counter[str]
    too_long: int = 0
    refused: list[str] = field(default_factory=list)  # what is wrong with those that can't be learnt, by name

    def add(self, demonstration: Demonstration, example: Example | UserError) -> None:
        """Takes a demonstration in, unless it is too long or was refused."""
        if isinstance(example, UserError):
            self.refused.append(str(example))
            return
        if example.length > self.limit:
            self.too_long += 1
            return
        self.examples.append(example)
        self.domains[demonstration.domain] += 1

    def summary(self) -> str:
        """What is there, in a line."""
        domains = ", ".join(f"{name} {count:,}" for name, count in sorted(self.domains.items()))
        tokens = sum(example.length for example in self.examples)
        left_out = f"; {self.too_long:,} longer than {self.limit:,} tokens left out" if self.too_long else ""
        return f"{len(self.examples):,} demonstrations ({domains}), {tokens:,} tokens{left_out}"


def encode(policy: Policy, demonstrations: Sequence[Demonstration]) -> list[Example | UserError]:
    """Prompts and completions as the rollout would see them, each completion with its end token.

    An error in the place of one, naming the demonstration, if the template would read it as something else, if it holds
    a token that ends completions, or if the tokenizer can't write it.
    """
    tokenizer, template = policy.tokenizer, policy.template
    prompts = [template.render(demonstration.prompt) for demonstration in demonstrations]
    completions = [template.write(demonstration.thinking, demonstration.answer) for demonstration in demonstrations]
    prompt_ids = tokenizer(prompts, add_special_tokens=False)["input_ids"]
    completion_ids = tokenizer(completions, add_special_tokens=False)["input_ids"]
    written = tokenizer.batch_decode(completion_ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
    end = policy.end_token_id
    examples: list[Example | UserError] = []
    for i, demonstration in enumerate(demonstrations):
        try:
            _check(policy, demonstration, completions[i], completion_ids[i], written[i])
        except UserError as error:
            examples.append(error)
            continue
        examples.append(Example(array("i", prompt_ids[i]), array("i", [*completion_ids[i], end])))
    return examples


def learner_config(stage: SFTStage, seed: int) -> SFTConfig:
    """The stage's fields that are the learner's, under the same names."""
    return LEARNER_FIELDS.of(stage, seed=seed)


def _encode(stage: SFTStage, context: StageContext, policy: Policy, demonstrations: Sequence[Demonstration]) -> Encoded:
    context_length = getattr(policy.model.config.get_text_config(), "max_position_embeddings", None)
    encoded = Encoded(min(stage.max_length, context_length or stage.max_length), [], Counter())
    for start in range(0, len(demonstrations), _CHUNK):
        chunk = demonstrations[start : start + _CHUNK]
        for demonstration, example in zip(chunk, encode(policy, chunk), strict=True):
            encoded.add(demonstration, example)
        context.view.progress("tokenizing", start + len(chunk), len(demonstrations))
    _settle(stage, context, encoded, len(demonstrations))
    if not encoded.examples:
        raise UserError(
            f"{stage.name}: nothing to learn from: all {len(demonstrations):,} demonstrations are longer than "
            f"{encoded.limit:,} tokens; raise max_length, or take a model with a longer context"
        )
    return encoded


def _settle(stage: SFTStage, context: StageContext, encoded: Encoded, total: int) -> None:
    """Notes for what was refused, where every source may skip; else ``UserError`` with all of it."""
    if not encoded.refused:
        return
    lines = [f"  {text}" for text in encoded.refused[:SHOWN]]
    lines += [f"  and {len(encoded.refused) - SHOWN:,} more"] if len(encoded.refused) > SHOWN else []
    head = f"{len(encoded.refused):,} of {total:,} demonstrations can't be learnt"
    if all(spec.on_bad_row == "skip" for spec in stage.data):
        for line in [f"{head}, and are left out:", *lines]:
            context.view.note(f"{stage.name}: {line}")
        return
    advice = "set on_bad_row: skip in data to go on without such rows"
    if len(encoded.refused) == 1:
        raise UserError(f"{encoded.refused[0]}; {advice}")
    raise UserError("\n".join([f"{head}; correct them, or {advice}:", *lines]))


def _check(policy: Policy, demonstration: Demonstration, completion: str, ids: Sequence[int], written: str) -> None:
    """Refuses a demonstration that would be learnt as something else than what it says."""
    where = f"the demonstration {demonstration.id}"
    parsed = policy.template.parse(completion)
    said = (parsed.thinking or "").strip(), (parsed.answer or "").strip()
    if said != (demonstration.thinking.strip(), demonstration.answer.strip()):
        raise UserError(
            f"{where}: the template {policy.template.name} would not read its thinking and answer back; take tags "
            "like </think> and <answer> out of its texts"
        )
    ends = set(policy.eos_token_ids) & set(ids)
    if ends:
        token = policy.tokenizer.convert_ids_to_tokens(min(ends))
        raise UserError(f"{where}: its text holds {token}, at which completions end; take it out")
    stops = [string for string in policy.template.stop_strings if string in completion]
    if stops:
        raise UserError(
            f"{where}: its text holds {stops[0]!r}, where the template {policy.template.name} ends a completion; take "
            "it out, or choose another template"
        )
    if written != completion and written != _normalized(policy, completion):
        at = next((i for i, (a, b) in enumerate(zip(written, completion, strict=False)) if a != b), len(written))
        raise UserError(
            f"{where}: the tokenizer of {policy.model.name_or_path} can't write {completion[at : at + 20]!r} "
            f"(it makes {written[at : at + 20]!r} of it); take another model, or leave the demonstration out"
        )


def _normalized(policy: Policy, text: str) -> str:
    """A text as the tokenizer sees it: Qwen's, for one, compose accents (NFC) first."""
    backend = getattr(policy.tokenizer, "backend_tokenizer", None)
    normalizer = getattr(backend, "normalizer", None)
    return str(normalizer.normalize_str(text)) if normalizer is not None else text


def _train(stage: SFTStage, context: StageContext, policy: Policy, learner: TextLearner) -> tuple[float, float]:
    """All updates that are not done yet; returns the loss of the first update and that of the last."""
    total = learner.total_updates
    done, first_loss, loss = 0, 0.0, 0.0
    checkpoint = context.run.latest_checkpoint()
    if checkpoint is not None:
        done, folder = checkpoint
        learner.load(folder / "learner")
        first_loss = json.loads((folder / "progress.json").read_text())["first_loss"]

    def save(folder: Path) -> Callable[[], None] | None:
        (folder / "progress.json").write_text(json.dumps({"first_loss": first_loss}))
        return learner.save_async(folder / "learner")

    shape = policy_shape(policy)
    for step in range(done, total):
        stop_between(context, step, save)
        context.clock.lap()  # what came before, records and checkpoints, is no part of the step
        with INTERRUPTS.finished():
            tokens = learner.tokens
            with context.clock.part(UPDATE):
                metrics = learner.update(step)
            batch = lengths_of(learner.examples[index] for index in learner.batch(step))
            metrics |= work_metrics({UPDATE: update_compute(shape, batch)})
            metrics |= pace(context.clock.lap(), learner.tokens - tokens)
            loss = metrics["loss"]
            first_loss = loss if step == 0 else first_loss
            context.run.log(step + 1, metrics)
            context.view.step(step + 1, metrics)
            if (step + 1) % stage.save_steps == 0 and step + 1 < total:
                context.run.save_checkpoint(step + 1, save)
    return first_loss, loss
