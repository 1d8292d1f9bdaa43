"""TRL's side of an RL step: its GRPOTrainer on the CPU, one training step a round. Runs in ``.peers/trl``.

A round is everything from one optimizer step to the next: generation, reward, loss, backward, AdamW. Nothing is saved
or logged. Left out: which of the ``engine`` settings is the fastest, which ``speed_trl.py`` finds out by trying.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from child import Line
from datasets import Dataset
from reward import vowels
from transformers import AutoTokenizer, TrainerCallback
from trl import GRPOConfig, GRPOTrainer

STEPS = 1000  # more than there are rounds


class Rounds(TrainerCallback):
    """Waits for its turn between two steps."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self.tokens = 0

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        self._line.ready()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        tokens, self.tokens = self.tokens, 0
        self._line.done(tokens)


def main(settings: dict[str, Any]) -> None:
    prompts = json.loads(Path(settings["prompts"]).read_text())
    tokenizer = AutoTokenizer.from_pretrained(settings["model"], trust_remote_code=False)
    for prompt in prompts:
        if tokenizer(prompt["text"])["input_ids"] != prompt["token_ids"]:
            raise ValueError(f"both sides must read the same tokens, and not so here: {prompt['text']!r}")
    rounds = Rounds(Line())

    def reward(completions: list[str], completion_ids: list[list[int]], **columns: Any) -> list[float]:
        rounds.tokens += sum(map(len, completion_ids))
        return vowels(completions, **columns)

    trainer = GRPOTrainer(
        model=settings["model"],
        reward_funcs=reward,
        args=config(settings, len(prompts)),
        train_dataset=Dataset.from_list([{"prompt": prompt["text"]} for prompt in prompts]),
        processing_class=tokenizer,
        callbacks=[rounds],
    )
    trainer.train()


def config(settings: dict[str, Any], num_prompts: int) -> GRPOConfig:
    """One generation of all groups, then one optimizer step on all of it, in parts of ``batch`` completions."""
    engine = settings["engine"]
    completions = num_prompts * settings["num_generations"]
    batch = min(engine["batch"], completions)
    return GRPOConfig(
        output_dir=settings["output"],
        use_cpu=True,
        model_init_kwargs={
            "dtype": engine["weights"],
            "attn_implementation": "sdpa",
            "trust_remote_code": False,
        },
        bf16=engine["weights"] == "float32",  # autocast, where the weights aren't bf16 themselves
        gradient_checkpointing=False,
        cache_implementation=engine["cache"],
        per_device_train_batch_size=batch,
        gradient_accumulation_steps=completions // batch,
        num_generations=settings["num_generations"],
        max_completion_length=settings["max_completion_length"],
        temperature=1.0,
        shuffle_dataset=False,
        learning_rate=settings["learning_rate"],
        lr_scheduler_type="constant",
        max_grad_norm=1.0,
        beta=0.0,
        loss_type="dapo",
        max_steps=STEPS,
        save_strategy="no",
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
        dataloader_num_workers=0,
        dataloader_pin_memory=False,
    )


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
