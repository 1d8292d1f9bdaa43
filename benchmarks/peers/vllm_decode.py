"""vLLM's side of decoding: its engine in this process, all groups a round. Runs in ``.peers/vllm``.

A group is one request for n completions. Neither text nor log-probabilities are asked for, though an RL step needs the
latter and the native engine always gives both. Left out: which of the ``engine`` settings is the fastest, which
``speed_vllm.py`` finds out by trying.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from child import Line
from vllm import LLM, SamplingParams


def main(settings: dict[str, Any]) -> None:
    line = Line()
    prompts = json.loads(Path(settings["prompts"]).read_text())
    engine = LLM(
        model=settings["model"],
        dtype="bfloat16",
        trust_remote_code=False,
        max_model_len=settings["context"],
        max_num_seqs=len(prompts) * settings["num_generations"],
        max_num_batched_tokens=8192,
        enable_prefix_caching=True,
        disable_log_stats=True,
        **settings["engine"],
    )
    sampling = SamplingParams(
        n=settings["num_generations"],
        temperature=1.0,
        max_tokens=settings["max_completion_length"],
        detokenize=False,
    )
    requests = [{"prompt_token_ids": prompt["token_ids"]} for prompt in prompts]
    line.ready()
    while True:
        answers = engine.generate(requests, sampling, use_tqdm=False)
        line.done(sum(len(completion.token_ids) for answer in answers for completion in answer.outputs))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
