"""What the ranks of ``test_sharded.py`` do, and the same by one process. Not a test: ranks import this file."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models
from torch import distributed
from transformers import (
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from thinkery.models.attention import ATTENTION
from thinkery.models.loading import Policy
from thinkery.models.template import TEMPLATES
from thinkery.training.learner import Learner, LearnerConfig, Sample
from thinkery.training.sft import Example, SFTConfig, SupervisedLearner
from thinkery.types import UserError

DEADLINE_S = 120.0
VOCAB, PADDED_VOCAB, PAD = 37, 50, 2  # neither 2 nor 4 ranks get equal parts, and one of 4 gets nothing but padding
STEPS = 3
MODELS = [f"transformers.models.{name}.modeling_{name}" for name in ("qwen3", "gpt_neox")]
Tensors = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Case:
    """A way to learn: fields of the learner's configuration, the model's shape, how it is cut up."""

    config: Mapping[str, Any] = field(default_factory=dict)
    sharding: Mapping[str, bool] = field(default_factory=dict)
    supervised: bool = False
    tied: bool = True
    dtype: torch.dtype = torch.float32
    compute_dtype: torch.dtype = torch.float32
    num_prompts: int = 5


OFF_POLICY = {"beta": 0.1, "num_minibatches": 2, "num_iterations": 2, "loss_type": "grpo"}
KL = OFF_POLICY | {"importance_sampling_correction": "truncate", "reference_refresh_steps": 2}
HEAD = {"parallel_head": True}
CASES = {
    "grpo": Case(),
    "reference, minibatches, iterations": Case(KL),
    "untied": Case(tied=False),
    "parallel head": Case(sharding=HEAD),
    "parallel head, untied": Case(sharding=HEAD, tied=False),
    "summed up every microbatch": Case(sharding={"reduce_every_microbatch": True}),
    "supervised": Case(supervised=True),
    "one prompt": Case(num_prompts=1),
    "float64": Case(KL, tied=False, dtype=torch.float64),
    "float64, parallel head": Case(KL, HEAD, dtype=torch.float64),
    "float64, muon": Case({"optimizer": "muon", "weight_decay": 0.1}, dtype=torch.float64),
    "bfloat16": Case(compute_dtype=torch.bfloat16),
    "bfloat16, parallel head": Case(sharding=HEAD, compute_dtype=torch.bfloat16),
}
SAVED = replace(CASES["reference, minibatches, iterations"], sharding=HEAD)


def make_policy(case: Case, *, meta: bool = False) -> Policy:
    """The same decoder of two layers each time; on the meta device it has no weights.

    In fp64 it is a GPT-NeoX, whose norms compute in fp64, too: those of Qwen3 round to fp32 within.
    """
    shape = {
        "vocab_size": PADDED_VOCAB,
        "hidden_size": 32,
        "intermediate_size": 72,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": 128,
        "tie_word_embeddings": case.tied,
        "initializer_range": 0.2,
        "pad_token_id": PAD,
        "attn_implementation": ATTENTION,
    }
    torch.manual_seed(0)
    model: PreTrainedModel
    with torch.device("meta" if meta else "cpu"):
        if case.dtype is torch.float64:
            model = GPTNeoXForCausalLM(GPTNeoXConfig(**shape))
        else:
            model = Qwen3ForCausalLM(Qwen3Config(**shape, num_key_value_heads=2, head_dim=8))
    model.eval().to(case.dtype)
    words = {f"t{i}": i for i in range(VOCAB)}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel(words, unk_token="t0")), eos_token="t1", unk_token="t0"
    )
    return Policy(model, tokenizer, TEMPLATES["r1-zero"], torch.device("cpu"), case.compute_dtype)


def make_samples(num_prompts: int = 5, num_generations: int = 4) -> list[Sample]:
    """Groups of unequal lengths, one of them without advantage."""
    generator = random.Random(0)
    samples = []
    for prompt in range(num_prompts):
        prompt_ids = tuple(generator.randrange(VOCAB) for _ in range(3 + 2 * prompt))
        for _ in range(num_generations):
            token_ids = tuple(generator.randrange(VOCAB) for _ in range(generator.randint(1, 14)))
            logprobs = tuple(-3.6 + generator.gauss(0, 0.5) for _ in token_ids)
            samples.append(Sample(prompt_ids, token_ids, logprobs, 0.0 if prompt == 1 else generator.gauss(0, 1)))
    return samples


def make_learner(case: Case, policy: Policy, backend: Any = None) -> Learner | SupervisedLearner:
    if case.supervised:
        examples = [Example(sample.prompt_ids, sample.token_ids) for sample in make_samples(case.num_prompts)]
        settings = SFTConfig(**{"learning_rate": 1e-3, "microbatch_tokens": 60, "batch_size": 16} | dict(case.config))
        return SupervisedLearner(policy, examples, settings, backend=backend)
    defaults = {"learning_rate": 1e-3, "temperature": 0.9, "max_completion_length": 20, "total_steps": 10}
    fields = defaults | {"microbatch_tokens": 60, "lr_scheduler_type": "linear"} | dict(case.config)
    return Learner(policy, LearnerConfig(**fields), backend=backend)


def learn(case: Case, learner: Learner | SupervisedLearner, steps: Sequence[int]) -> list[dict[str, float]]:
    if isinstance(learner, SupervisedLearner):
        return [learner.update(step) for step in steps]
    samples = make_samples(case.num_prompts)
    return [learner.update(samples, step) for step in steps]


def weights_of(policy: Policy) -> Tensors:
    """One process's."""
    return {name: parameter.detach().clone() for name, parameter in policy.model.named_parameters()}


# What ranks do. Every function runs on all ranks of a world; what rank 0 returns is what the test sees.


def make_shards(case: Case) -> tuple[Policy, Any]:
    from thinkery.cluster.sharded_backend import Sharding, Shards

    policy = make_policy(case, meta=distributed.get_rank() > 0)
    return policy, Shards(policy, torch.device("cpu"), Sharding(**case.sharding))


def whole_weights(shards: Any, dtype: torch.dtype) -> Tensors:
    return {name: tensor.clone() for bucket in shards.weights(4000, dtype) for name, tensor in bucket}


def learn_sharded(name: str) -> dict[str, Any]:
    case = CASES[name]
    policy, shards = make_shards(case)
    metrics = learn(case, make_learner(case, policy, shards), range(STEPS))
    return {"metrics": metrics, "weights": whole_weights(shards, case.dtype), "version": policy.version}


def head_inputs(rank: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Hidden states and targets of a rank: 7 tokens of rank 0, one of rank 1, 5 of rank 2, none of rank 3."""
    generator = torch.Generator().manual_seed(rank)
    count = (7, 1, 5, 0)[rank]
    hidden_ND = torch.randn(count, 8, generator=generator, dtype=torch.float64)
    return hidden_ND, torch.randint(VOCAB, (count,), generator=generator)


def head_weight() -> torch.Tensor:
    return torch.randn(PADDED_VOCAB, 8, generator=torch.Generator().manual_seed(9), dtype=torch.float64)


def head() -> dict[str, Any]:
    """A head on all ranks that takes two tokens of each at a time: values and gradients of a loss."""
    from torch.distributed.tensor import Shard, distribute_tensor

    from thinkery.cluster.sharded_head import split_logprobs
    from thinkery.cluster.sharded_optimizer import Ranks

    ranks = Ranks(torch.device("cpu"), 60.0)
    weight = torch.nn.Parameter(distribute_tensor(head_weight(), ranks.mesh, [Shard(0)]))
    hidden_ND, target_N = head_inputs(distributed.get_rank())
    hidden_ND.requires_grad_()
    logp_N, entropy_N = split_logprobs(
        hidden_ND, weight, target_N, temperature=0.7, valid_vocab=VOCAB, ranks=ranks, chunk=2
    )
    logp_N.square().sum().backward()
    assert weight.grad is not None
    return {
        "logp": logp_N.detach(),
        "entropy": entropy_N,
        "hidden_grad": hidden_ND.grad,
        "weight_grad": weight.grad.full_tensor(),
    }


def checkpoint(folder: Path) -> dict[str, Any]:
    """Two steps, a checkpoint that is written during the third, an export after it."""
    case = SAVED
    policy, shards = make_shards(case)
    learner = make_learner(case, policy, shards)
    learn(case, learner, range(2))
    finish = learner.save_async(folder / "begun")
    visible = (folder / "begun").exists()
    metrics = learn(case, learner, [2])
    assert finish is not None
    finish()
    learner.export(folder / "exported")
    buckets = [[(n, t.dtype, t.numel()) for n, t in bucket] for bucket in shards.weights(4000, torch.bfloat16)]
    weights = whole_weights(shards, case.dtype)
    return {"metrics": metrics, "weights": weights, "buckets": buckets, "visible": visible}


def resume(folder: Path) -> dict[str, Any]:
    """The third step. Four ranks go on with a parallel head, two without."""
    case = SAVED if distributed.get_world_size() == 4 else CASES["reference, minibatches, iterations"]
    policy, shards = make_shards(case)
    learner = make_learner(case, policy, shards)
    learner.load(folder)
    version = policy.version
    return {"metrics": learn(case, learner, [2]), "weights": whole_weights(shards, case.dtype), "version": version}


def fail(folder: Path) -> dict[str, Any]:
    """The errors that users may meet, and an update after them."""
    case = CASES["grpo"]
    policy, shards = make_shards(case)
    learner = make_learner(case, policy, shards)
    errors = {name: error_of(lambda bad=bad: learner.update(bad, 0)) for name, bad in bad_samples().items()}
    errors["no checkpoint"] = error_of(lambda: learner.load(folder))
    untied = CASES["untied"]
    other = make_learner(untied, *make_shards(untied))
    errors["another model"] = error_of(lambda: other.load(folder / "begun"))
    return {"errors": errors, "metrics": learn(case, learner, [0])}


def lose_a_rank() -> str:
    """What rank 0 says when the other has gone."""
    case = CASES["grpo"]
    policy, shards = make_shards(case)
    learner = make_learner(case, policy, shards)
    if distributed.get_rank() > 0:
        return ""
    try:
        learn(case, learner, [0])
    except RuntimeError as error:
        return type(error).__name__
    return "none"


def bad_samples() -> dict[str, list[Sample]]:
    """Samples whose loss, and whose gradient, is not finite."""
    good = make_samples()
    infinite, huge = list(good), list(good)
    infinite[9] = replace(good[9], advantage=float("inf"))
    huge[9] = replace(good[9], advantage=3e38)
    return {"loss": infinite, "gradient": huge}


def error_of(work: Callable[[], Any]) -> str:
    try:
        work()
    except UserError as error:
        return str(error)
    return "none"


def main(rank: int, ports: Mapping[int, int], folder: Path) -> None:
    """Worlds of 4 ranks, then of 2, in the same processes; what each rank returned is saved."""
    torch.set_num_threads(1)
    from thinkery.cluster.sharded_backend import join_ranks

    seen: dict[tuple[str, int], Any] = {}
    for ranks, port in ports.items():
        if rank >= ranks:
            continue
        join_ranks(f"127.0.0.1:{port}", rank, ranks, device=torch.device("cpu"), timeout_s=DEADLINE_S)
        for name in CASES:
            seen[name, ranks] = learn_sharded(name)
        seen["head", ranks] = head()
        if ranks == 4:
            seen["checkpoint", ranks] = checkpoint(folder)
        seen["resume", ranks] = resume(folder / "begun")
        seen["resume one process's", ranks] = resume(folder / "alone")
        seen["fail", ranks] = fail(folder)
        if ranks == 2:
            seen["lost", ranks] = lose_a_rank()
        distributed.destroy_process_group()
    torch.save(seen, folder / f"rank-{rank}.pt")
