"""A model folder and prompts for a comparison, made here, so that nothing is downloaded.

The weights are random, and yet the completions end as a trained model's do: the end-of-sequence token has the same
probability after every token, so lengths are geometric with the mean that is asked for. By construction: dimension 0
of the residual stream is 1 for every token and no layer writes to it; the head reads it for the end-of-sequence token
alone, and nothing else for that token; the weight is then fitted until the probability is right. Any engine that loads
the folder samples such lengths. The tokenizer, so the vocabulary, and the template are the shipped base's; the head is
no longer the embedding's transpose. Left out: sense.
"""

from __future__ import annotations

import json
import math
import random
from pathlib import Path

import torch
from speed_shapes import Shape
from transformers import AutoTokenizer, GenerationConfig, Qwen3ForCausalLM

from thinkery.models.loading import Policy, resolve_model, save_policy, saved_template
from thinkery.models.template import Template
from thinkery.types import Problem

BASE = "thinkery://mini-base"
CONTEXT = 1024
FIT_ROUNDS = 5
NEVER = 1e-12


def write_model(folder: Path, shape: Shape, *, mean_length: float | None, max_length: int) -> None:
    """Writes a random model whose completions, cut at ``max_length``, have that mean length. None: none ever ends."""
    torch.manual_seed(0)
    place = resolve_model(BASE)
    tokenizer = AutoTokenizer.from_pretrained(place, trust_remote_code=False)
    config = shape.config()
    config.vocab_size = len(tokenizer)
    config.max_position_embeddings = CONTEXT
    config.tie_word_embeddings = False
    config.eos_token_id, config.pad_token_id = tokenizer.eos_token_id, tokenizer.pad_token_id
    model = Qwen3ForCausalLM(config).eval()
    model.generation_config = GenerationConfig(eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id)
    end_with(model, NEVER if mean_length is None else end_probability(mean_length, max_length))
    policy = Policy(model, tokenizer, template(), torch.device("cpu"), torch.bfloat16)
    save_policy(policy, folder, dtype="bfloat16")


def template() -> Template:
    """The shipped base's."""
    return saved_template(resolve_model(BASE))


def end_probability(mean_length: float, max_length: int) -> float:
    """The p for which min(a geometric length, ``max_length``) has this mean: (1 - (1 - p)^max) / p."""
    low, high = 1e-9, 1.0
    for _ in range(100):
        p = (low + high) / 2
        low, high = (p, high) if -math.expm1(max_length * math.log1p(-p)) / p > mean_length else (low, p)
    return high


@torch.no_grad()
def end_with(model: Qwen3ForCausalLM, probability: float) -> None:
    """Gives the end-of-sequence token this probability after any token."""
    end = model.config.eos_token_id
    head_VD = model.lm_head.weight
    model.model.embed_tokens.weight[:, 0] = 1.0
    for layer in model.model.layers:
        layer.self_attn.o_proj.weight[0] = 0.0
        layer.mlp.down_proj.weight[0] = 0.0
    head_VD[:, 0] = 0.0
    head_VD[end] = 0.0
    ids_BT = torch.randint(2, model.config.vocab_size, (8, 128))
    hidden_BTD = model.model(ids_BT).last_hidden_state
    constant = hidden_BTD[..., 0].mean()
    for _ in range(FIT_ROUNDS):
        found = (hidden_BTD @ head_VD.T).softmax(-1)[..., end].mean()
        head_VD[end, 0] += (math.log(probability) - found.log()) / constant


def write_prompts(path: Path, count: int) -> None:
    """Writes ``count`` short questions, each with its text under the template and its tokens."""
    tokenizer = AutoTokenizer.from_pretrained(resolve_model(BASE), trust_remote_code=False)
    rng, rendering, prompts = random.Random(0), template(), []
    for number in range(count):
        a, b, c, d = (rng.randrange(10, 100) for _ in range(4))
        problem = Problem(str(number), f"What is ({a} + {b}) * {c} - {d}?", "")
        text = rendering.render(problem.prompt)
        token_ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        prompts.append({"question": problem.prompt, "text": text, "token_ids": token_ids})
    path.write_text(json.dumps(prompts))
