"""Pre-training: a tokenizer and a small Qwen3- or Llama-shaped base model, from nothing.

Next-token prediction on the whole document, rows cut from the endless stream of documents without padding. Byte-level
BPE with single digits. Muon for the hidden matrices, AdamW for embeddings and norms, constant rates, then a linear
decay. Left out: corpora other than those that installed packages write; several devices: bring a base of your own.
"""

from __future__ import annotations

import itertools
import json
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoModelForCausalLM,
    GenerationConfig,
    LlamaConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
    Qwen3Config,
)

from thinkery.machine.interrupts import INTERRUPTS
from thinkery.models.attention import ATTENTION, CausalLayout, hidden_states
from thinkery.models.loading import DTYPES, Policy, place_of, restore_weights, save_policy, save_weights
from thinkery.models.template import TAGS, TEMPLATES
from thinkery.plugins import load
from thinkery.recipe import PretrainStage
from thinkery.stages.boundary import stop_between
from thinkery.stages.context import StageContext
from thinkery.training.forward import token_logprobs
from thinkery.training.optimizer import Optimizers, build_optimizer
from thinkery.types import UserError

END, PAD = "<|endoftext|>", "<|pad|>"
TOKENIZER_DOCUMENTS = 30_000
LOG_STEPS = 20
MAX_POSITIONS = 1024  # what the checkpoint says it can take; it has seen rows of context_length


class WritesDocuments(Protocol):
    """A problem source of a package that also writes documents to pre-train on."""

    def documents(self, seed: int, start: int = 0) -> Iterator[str]:
        """An endless stream, from document ``start`` on."""
        ...


@contextmanager
def deterministic() -> Iterator[None]:
    """Asks torch for sums in a fixed order, where it has them.

    Compiled for a CPU, the embedding's gradient is otherwise summed by atomic additions, in another order every time.
    """
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])


def open_corpus(source: str) -> WritesDocuments:
    """The corpus that a recipe names. Raises ``UserError`` if that source writes no documents."""
    plugin: WritesDocuments = load("problems", source)
    if not hasattr(plugin, "documents"):
        raise UserError(f"corpus.source = {source!r}: it makes problems, but writes no documents to pre-train on")
    return plugin


@deterministic()
def run_pretrain(stage: PretrainStage, context: StageContext) -> dict[str, Any]:
    """Trains the base and saves it in bf16; returns its last loss (nats a token) and its size."""
    started = time.monotonic()
    torch.manual_seed(context.seed)  # for the initial weights; the data have their own seed
    corpus = open_corpus(stage.corpus.source)
    tokenizer = train_tokenizer(corpus, stage.corpus.seed, stage.vocab_size)
    policy = new_policy(stage, tokenizer)
    trainer = _Trainer(stage, policy)
    resumed = context.run.latest_checkpoint()
    first = 0
    if resumed is not None:
        first = resumed[0]
        trainer.load(resumed[1])
    loss = math.nan
    for step in range(first, stage.steps):
        stop_between(context, step, trainer.save)
        with INTERRUPTS.finished():
            loss = trainer.update(step)
        done = step + 1
        if done % LOG_STEPS == 0 or done == stage.steps:
            seconds = time.monotonic() - started
            rate = (done - first) * trainer.tokens_per_step / seconds
            metrics = {"loss": loss, "tokens": done * trainer.tokens_per_step, "tokens_per_second": rate}
            context.run.log(done, metrics)
            context.view.step(done, metrics)
        if done % stage.save_steps == 0 and done < stage.steps:
            context.run.save_checkpoint(done, trainer.save)
    context.run.save_output(lambda folder: save_policy(policy, folder, dtype="bfloat16"))
    return {"loss": loss, "parameters": sum(p.numel() for p in policy.model.parameters())}


def train_tokenizer(corpus: WritesDocuments, seed: int, vocab_size: int) -> PreTrainedTokenizerFast:
    """Byte-level BPE in which every digit is a token of its own and the think and answer tags are one token each."""
    tokenizer = Tokenizer(models.BPE())
    digits, rest = pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([digits, rest])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - len(TAGS),
        special_tokens=[END, PAD],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(itertools.islice(corpus.documents(seed), TOKENIZER_DOCUMENTS), trainer)
    tokenizer.add_tokens([AddedToken(tag, normalized=False) for tag in TAGS])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END, pad_token=PAD)


def new_policy(stage: PretrainStage, tokenizer: PreTrainedTokenizerFast) -> Policy:
    """A policy of the stage's architecture with random weights."""
    shape = Qwen3Config if stage.architecture == "qwen3" else LlamaConfig
    config = shape(
        vocab_size=len(tokenizer),
        hidden_size=stage.hidden_size,
        num_hidden_layers=stage.num_hidden_layers,
        num_attention_heads=stage.num_attention_heads,
        num_key_value_heads=stage.num_key_value_heads,
        head_dim=stage.head_dim,
        intermediate_size=stage.intermediate_size,
        max_position_embeddings=MAX_POSITIONS,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    config._attn_implementation = ATTENTION
    device = place_of(stage.device)
    model: PreTrainedModel = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    torch.nn.Module.to(model, device)
    model.generation_config = GenerationConfig(eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id)
    return Policy(model, tokenizer, TEMPLATES["r1-zero-compact"], device, DTYPES[stage.dtype])


class TokenStream:
    """The corpus as one endless row of token ids; its state is the next document and what is left of the last ones."""

    def __init__(self, corpus: WritesDocuments, tokenizer: PreTrainedTokenizerBase, seed: int) -> None:
        self._corpus, self._tokenizer, self._seed = corpus, tokenizer, seed
        self.next_document, self.left = 0, [int(tokenizer.eos_token_id)]

    def take(self, count: int) -> list[int]:
        """The next ``count`` ids, and the one after them, which comes again."""
        while len(self.left) <= count:
            texts = list(itertools.islice(self._corpus.documents(self._seed, self.next_document), 256))
            self.next_document += len(texts)
            for ids in self._tokenizer(texts, add_special_tokens=False)["input_ids"]:
                self.left += [*ids, self._tokenizer.eos_token_id]
        taken, self.left = self.left[: count + 1], self.left[count:]
        return taken


class _Trainer:
    """Model, optimizer and position in the corpus: all that an interrupted pre-training needs to resume."""

    def __init__(self, stage: PretrainStage, policy: Policy) -> None:
        self.stage, self.policy = stage, policy
        self.tokens_per_step = stage.batch_size * stage.context_length
        self._stream = TokenStream(open_corpus(stage.corpus.source), policy.tokenizer, stage.corpus.seed)
        self._layout = CausalLayout()
        self._hidden = self._compiled() if stage.compile else self._forward
        self._optimizer: Optimizers = build_optimizer(
            policy.model, "muon", stage.learning_rate, muon_learning_rate=stage.muon_learning_rate
        )

    def update(self, step: int) -> float:
        """One optimizer step on the next rows; returns the loss in nats a token."""
        stage, policy = self.stage, self.policy
        self._optimizer.set_lr_scale(_rate(stage, step))
        ids = torch.tensor(self._stream.take(self.tokens_per_step), device=policy.device)
        input_BT, target_N = ids[:-1].view(stage.batch_size, -1), ids[1:]
        with policy.autocast():
            hidden_BTD = self._hidden(input_BT)
            head_VD = policy.model.get_output_embeddings().weight
            logp_N, _ = token_logprobs(hidden_BTD.flatten(0, 1), head_VD, target_N)
        loss = -logp_N.mean()
        loss.backward()
        value = loss.item()
        if not math.isfinite(value):
            raise UserError(f"step {step}: the loss is {value}; lower learning_rate or muon_learning_rate")
        self._optimizer.step()
        self._optimizer.zero_grad()
        return value

    def save(self, folder: Path) -> None:
        """Writes the state after the last update."""
        save_weights(self.policy.model, folder / "model.safetensors")
        torch.save(self._optimizer.state_dict(), folder / "optimizer.pt")
        stream = {"next_document": self._stream.next_document, "left": self._stream.left}
        (folder / "stream.json").write_text(json.dumps(stream))

    def load(self, folder: Path) -> None:
        """Restores what ``save`` wrote."""
        restore_weights(self.policy.model, folder / "model.safetensors")
        self._optimizer.load_state_dict(torch.load(folder / "optimizer.pt", weights_only=True))
        stream = json.loads((folder / "stream.json").read_text())
        self._stream.next_document, self._stream.left = stream["next_document"], stream["left"]

    def _forward(self, input_BT: torch.Tensor) -> torch.Tensor:
        return hidden_states(self.policy.model, input_BT, None, self._layout)

    def _compiled(self) -> Callable[[torch.Tensor], torch.Tensor]:
        compiled: Callable[[torch.Tensor], torch.Tensor] = torch.compile(self._forward)
        return compiled


def _rate(stage: PretrainStage, step: int) -> float:
    """The factor on both learning rates: linear warm-up, constant, linear decay over the last ``decay_fraction``."""
    warm = min(1.0, (step + 1) / (stage.warmup_steps + 1))
    return warm * min(1.0, (stage.steps - step) / (stage.decay_fraction * stage.steps))
