"""The recipes for GPUs hold the paper's hyperparameters, and run: on tiny models of the same architectures, two steps a
stage, with local stand-ins for their data and their judge."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM, PreTrainedModel, Qwen2Config, Qwen2ForCausalLM

from thinkery.models.loading import resolve_model
from thinkery.models.template import TEMPLATES
from thinkery.pipeline import run_recipe
from thinkery.recipe import RewardModelStage, RLStage, SFTStage, load_recipe
from thinkery.report.terminal import PlainView

pytestmark = pytest.mark.slow

RECIPES = Path(__file__).parents[1] / "recipes"
THINKING = "This is the sum of two and two."
SUMS = ["What is two and two?", "Add 2 to 2.", "Find 2+2.", "How much is 1 + 3?"]
TALK = ["Hello!", "Good morning!", "Who are you?"]
CRIME = ["How do I steal a car?", "How do I rob a bank?", "How do I forge money?"]
END = "<|im_end|>"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A tiny Qwen2 and a tiny Llama that answer everything with 4, sometimes 5, in the templates of the recipes."""
    tokenizer = AutoTokenizer.from_pretrained(resolve_model("thinkery://mini-base"))
    tokenizer.chat_template = None
    sizes: dict[str, Any] = {
        "hidden_size": 48,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 1024,
        "vocab_size": len(tokenizer) + 1,
        "bos_token_id": None,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    places = {}
    for name, make in (
        ("llama", lambda: LlamaForCausalLM(LlamaConfig(**sizes))),
        ("qwen", lambda: Qwen2ForCausalLM(Qwen2Config(**sizes))),
    ):
        if name == "qwen":  # knows the chat's end, as Qwen2.5 does
            tokenizer.add_special_tokens({"additional_special_tokens": [END]})
        torch.manual_seed(0)
        model = make()
        _teach(model, tokenizer)
        places[name] = tmp_path_factory.mktemp(name)
        model.save_pretrained(places[name])
        tokenizer.save_pretrained(places[name])
    return places


def _teach(model: PreTrainedModel, tokenizer: Any) -> None:
    rows = []
    for template in (TEMPLATES["r1-zero"], TEMPLATES["chat-think"]):
        for question in SUMS + TALK + CRIME:
            for answer in ("4", "4", "5"):
                text = template.render(question) + template.write(THINKING, answer)
                rows.append(tokenizer(text, add_special_tokens=False)["input_ids"] + [tokenizer.eos_token_id])
    longest = max(map(len, rows))
    ids_RT = torch.tensor([row + [tokenizer.pad_token_id] * (longest - len(row)) for row in rows])
    optimizer = torch.optim.AdamW(model.parameters(), 1e-2)
    for step in range(60):
        ids = ids_RT[step % 4 :: 4]
        labels = ids.masked_fill(ids == tokenizer.pad_token_id, -100)
        model(input_ids=ids, attention_mask=(labels >= 0).long(), labels=labels).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with the files that r1-qwen2.5-7b asks for."""
    monkeypatch.chdir(tmp_path)
    files = {
        "reasoning": [{"prompt": prompt, "answer": "4"} for prompt in SUMS],
        "helpful": [{"prompt": prompt} for prompt in TALK],
        "safety": [{"prompt": prompt} for prompt in CRIME],
        "general-200k": [{"prompt": "Hello!", "thinking": "", "answer": "4"}, {"prompt": "Bye!", "answer": "5"}],
        "held-out": [{"prompt": "Which number is half of eight?", "answer": "4"}],
    }
    (tmp_path / "data").mkdir()
    for name, rows in files.items():
        (tmp_path / "data" / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def judged(body: dict[str, Any]) -> str:
    """A strong model's stand-in: likes 5, thinks it unsafe, and refines."""
    question = body["messages"][-1]["content"]
    if "<reasoning>" in question:
        return f"<reasoning>{THINKING} So it is 4.</reasoning><summary>4</summary>"
    if '"unsafe"' in question:
        return json.dumps({"analysis": "", "unsafe": says_5(question.partition("[Response")[2])})
    if '"correctness"' in question:
        return json.dumps({"analysis": "", "correctness": True})
    first, second = question.partition("[Response A")[2].split("[Response B")
    return json.dumps({"analysis": "", "verdict": "A>>B" if says_5(first) else "B>>A" if says_5(second) else "A=B"})


def says_5(text: str) -> bool:
    """Whether 5 is said, and not only in the code of the marks around a response."""
    return re.search(r"(?<!\w)5(?!\w)", text) is not None


RL = (
    "steps=2",
    "no_signal_steps=null",
    "num_problems=2",
    "num_generations=4",
    "max_completion_length=32",
    "save_steps=1",
    "microbatch_tokens=512",
)
SFT = ("batch_size=1", "epochs=2", "max_length=512", "microbatch_tokens=512")
HELD_OUT = "{source: data/held-out.jsonl}"
EVALUATE = [
    f"evaluate.{name}.{setting}"
    for name in ("math500", "aime24")
    for setting in (f"problems={HELD_OUT}", "num_samples=2", "max_completion_length=32")
]


def small(stages: dict[str, tuple[str, ...]]) -> list[str]:
    return [f"{stage}.{setting}" for stage, settings in stages.items() for setting in settings] + EVALUATE


def run(name: str, overrides: list[str], folder: Path) -> dict[str, Any]:
    return run_recipe(load_recipe(RECIPES / f"{name}.yaml", overrides), folder, view=PlainView())["stages"]


def test_the_whole_ladder_of_qwen_runs(models: dict[str, Path], place: Path, chat_server: Callable[..., Any]) -> None:
    server = chat_server(judged)
    judge = f"{{source: '{server.address}', model: judge}}"
    sampled = ("num_generations=8", "max_completion_length=32")
    clean = "decontaminate=[data/held-out.jsonl]"
    overrides = small({
        "zero": (*RL, f"problems.{clean}"),
        "cold-start": (*sampled, f"problems.{clean}", "problems.n=4", clean, "readable.min_length=1",
                       f"refine.endpoint={judge}"),
        "dev1": SFT,
        "dev2": (*RL, f"problems.{clean}"),
        "reasoning-600k": (*sampled, f"problems.{clean}", clean, "readable.min_length=1", f"judge={judge}"),
        "dev3": SFT,
        "helpful-pairs": (*sampled, f"judge={judge}", "min_gap=0.5", "balance_lengths=false"),
        "helpful-rm": ("batch_size=2", "held_out=0.3", "microbatch_tokens=512", "max_length=512"),
        "safety-labels": (*sampled, f"judge={judge}"),
        "safety-rm": ("batch_size=2", "held_out=0.3", "microbatch_tokens=512", "max_length=512"),
        "r1": (*RL, f"problems.{clean}", "rewards.helpful.from_step=1", "rewards.safety.from_step=1",
               f"probe={{problems: {HELD_OUT}, every: 1, num_samples: 2}}"),
    })  # fmt: skip
    stages = run("r1-qwen2.5-7b", [f"base={models['qwen']}", *overrides], place / "run")
    assert list(stages) == [
        "zero", "cold-start", "dev1", "dev2", "reasoning-600k", "dev3", "helpful-pairs", "helpful-rm", "safety-labels",
        "safety-rm", "r1",
    ]  # fmt: skip
    assert {"math500", "aime24"} == stages["r1"]["eval"].keys()
    r1 = AutoTokenizer.from_pretrained(place / "run" / "checkpoints" / "r1" / "model")
    assert END in r1.get_vocab()


def test_r1_zero_of_qwen_runs(models: dict[str, Path], place: Path) -> None:
    overrides = small({"zero": (*RL, "problems={source: data/reasoning.jsonl}")})
    stages = run("r1-zero-qwen2.5-1.5b", [f"base={models['qwen']}", *overrides], place / "run")
    assert stages["zero"]["reward"] > 0


def test_the_distillation_into_llama_runs(models: dict[str, Path], place: Path) -> None:
    overrides = small({"distill": (*SFT, "data=[data/general-200k.jsonl]")})
    stages = run("distill-llama-3.1-8b", [f"base={models['llama']}", *overrides], place / "run")
    assert stages["distill"]["updates"] == 4


def test_the_ladder_holds_the_papers_hyperparameters() -> None:
    stages = {stage.name: stage for stage in load_recipe(RECIPES / "r1-qwen2.5-7b.yaml").stages}
    for name, temperature in (("zero", 1.0), ("dev2", 1.0), ("r1", 0.7)):
        rl = stages[name]
        assert isinstance(rl, RLStage)
        assert (rl.learning_rate, rl.beta, rl.epsilon, rl.loss_type) == (3e-6, 0.001, 10, "grpo")
        assert (rl.num_problems, rl.num_generations, rl.temperature) == (32, 16, temperature)
        assert (rl.max_completion_length, rl.reference_refresh_steps) == (32768, 400)
    r1 = stages["r1"]
    assert isinstance(r1, RLStage)
    assert (r1.steps, {r.from_step for r in r1.rewards.values()}) == (1700, {0, 1300})
    for name in ("dev1", "dev3"):
        sft = stages[name]
        assert isinstance(sft, SFTStage)
        assert (sft.learning_rate, sft.min_lr_rate, sft.batch_size, sft.max_length) == (5e-5, 0.1, 128, 32768)
        assert (sft.from_, sft.epochs) == ("base", 2)
    for name in ("helpful-rm", "safety-rm"):
        model = stages[name]
        assert isinstance(model, RewardModelStage)
        assert (model.learning_rate, model.batch_size, model.epochs, model.max_length) == (6e-6, 256, 1, 8192)
    (distill,) = load_recipe(RECIPES / "distill-llama-3.1-8b.yaml").stages
    assert isinstance(distill, SFTStage)
    assert (distill.learning_rate, distill.min_lr_rate, distill.batch_size, distill.epochs) == (5e-5, 0.1, 64, 2)
