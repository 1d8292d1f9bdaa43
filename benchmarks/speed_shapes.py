"""What the speed benchmarks measure with: models of given shapes with random weights, samples, problems, a clock.

A model's speed doesn't depend on what its weights say, so nothing is downloaded. Its tokenizer has one word a token,
and one word more than the model has tokens: the one that ends a completion, which can't be sampled. So every
completion is as long as was asked for. Left out: measuring (``speed_update.py``, ``speed_scaling.py``, ``gpu.py``).
"""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast, Qwen3Config

from thinkery.models.attention import ATTENTION
from thinkery.models.flops import Compute, policy_shape, update_compute
from thinkery.models.loading import DTYPES, Policy
from thinkery.models.template import Template
from thinkery.stages.step_metrics import lengths_of
from thinkery.training.learner import Sample
from thinkery.training.packing import Tokens
from thinkery.types import Completion, Dtype, Problem

PLAIN = Template("plain", "{% for m in messages %}{{ m.content }}{% endfor %}")


@dataclass(frozen=True, kw_only=True)
class Shape:
    """A Qwen3: a decoder with grouped queries, a gated MLP, and one matrix for embedding and head."""

    hidden: int
    intermediate: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    vocab: int

    @property
    def matrix_parameters(self) -> int:
        """Of all layers' matrices: what every token is multiplied with. No embedding, no norms."""
        attention = 2 * self.hidden * self.head_dim * (self.heads + self.kv_heads)
        return self.layers * (attention + 3 * self.hidden * self.intermediate)

    def config(self) -> Qwen3Config:
        """transformers' configuration."""
        return Qwen3Config(
            hidden_size=self.hidden,
            intermediate_size=self.intermediate,
            num_hidden_layers=self.layers,
            num_attention_heads=self.heads,
            num_key_value_heads=self.kv_heads,
            head_dim=self.head_dim,
            vocab_size=self.vocab,
            max_position_embeddings=131072,
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=None,
            pad_token_id=0,
        )

    def policy(self, *, device: str = "cpu", dtype: Dtype = "bfloat16") -> Policy:
        """A policy of this shape; the same weights each time. ``dtype`` is what it computes in."""
        torch.manual_seed(0)
        with torch.device(device):
            model = AutoModelForCausalLM.from_config(
                self.config(), dtype=torch.float32, attn_implementation=ATTENTION, trust_remote_code=False
            ).eval()
        return Policy(model, self.tokenizer(), PLAIN, torch.device(device), DTYPES[dtype])

    def tokenizer(self) -> PreTrainedTokenizerFast:
        """Words ``t0 t1 ...`` for the model's tokens; the word after the last one ends a completion."""
        backend = Tokenizer(models.WordLevel({f"t{i}": i for i in range(self.vocab + 1)}, unk_token="t0"))
        backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
        return PreTrainedTokenizerFast(
            tokenizer_object=backend, eos_token=f"t{self.vocab}", unk_token="t0", pad_token="t0"
        )


def _mini(hidden: int, layers: int, vocab: int = 2048) -> Shape:
    return Shape(
        hidden=hidden,
        intermediate=3 * hidden,
        layers=layers,
        heads=hidden // 64,
        kv_heads=max(1, hidden // 128),
        head_dim=64,
        vocab=vocab,
    )


def _qwen3(hidden: int, intermediate: int, layers: int, heads: int) -> Shape:
    return Shape(
        hidden=hidden,
        intermediate=intermediate,
        layers=layers,
        heads=heads,
        kv_heads=8,
        head_dim=128,
        vocab=151936,
    )


SHAPES = {
    "tiny": _mini(64, 2, vocab=128),
    "1m": _mini(128, 4),
    "3m": _mini(256, 4),  # the shipped miniature's
    "10m": _mini(384, 6),
    "25m": _mini(512, 8),
    "qwen3-0.6b": _qwen3(1024, 3072, 28, 16),
    "qwen3-1.7b": _qwen3(2048, 6144, 28, 16),
    "qwen3-4b": _qwen3(2560, 9728, 36, 32),
}


def make_samples(
    shape: Shape, prompts: int, group: int, *, prompt: int, completions: Sequence[int], seed: int = 0
) -> list[Sample]:
    """``prompts`` groups of ``group`` samples with random tokens and advantages.

    Every prompt has ``prompt`` tokens; the completions take their lengths from ``completions`` in turn.
    """
    generator = random.Random(seed)
    lengths = itertools.cycle(completions)
    samples = []
    for _ in range(prompts):
        prompt_ids = tuple(generator.randrange(shape.vocab) for _ in range(prompt))
        for _ in range(group):
            token_ids = tuple(generator.randrange(shape.vocab) for _ in range(next(lengths)))
            samples.append(Sample(prompt_ids, token_ids, (-1.0,) * len(token_ids), generator.gauss(0, 1)))
    return samples


def make_problems(vocab: int, count: int, prompt: int, *, seed: int = 0) -> list[Problem]:
    """Problems whose prompts have ``prompt`` tokens of the first ``vocab``."""
    generator = random.Random(seed)
    texts = (" ".join(f"t{generator.randrange(vocab)}" for _ in range(prompt)) for _ in range(count))
    return [Problem(f"problem-{number}", text, "") for number, text in enumerate(texts)]


def graded(completions: Iterable[Completion]) -> list[Sample]:
    """Completions -> samples, each with an advantage as a rule gives it: right or wrong, by its last token."""
    return [Sample(c.prompt_ids, c.token_ids, c.logprobs, 1.0 if c.token_ids[-1] % 2 else -1.0) for c in completions]


def update_cost(policy: Policy, samples: Sequence[Tokens]) -> Compute:
    """What an update on these samples needs, each prompt once; ``thinkery.models.flops`` has the formulas."""
    return update_compute(policy_shape(policy), lengths_of(samples))


def synchronize(device: torch.device) -> None:
    """Waits until an accelerator has done what it was told to; a CPU always has."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds(work: Callable[[], object], device: torch.device) -> float:
    """Wall seconds of one call."""
    synchronize(device)
    began = time.perf_counter()
    work()
    synchronize(device)
    return time.perf_counter() - began
