"""R1-Zero in miniature with vLLM as rollout, beside the native engine, and how far their log-probabilities are apart.

    .venv-vllm/bin/python benchmarks/scale_vllm.py [--folder runs/scale-vllm]

Runs in the environment that ``make test-vllm`` makes. The zero stage of recipes/mini.yaml, shortened to ``STEPS``
steps, is trained twice from the same seed, sampled by vLLM (colocated, eager) and by the native engine; both policies
and their base are evaluated by the native engine on the held-out reasoning set. Log-probabilities are those of the
trained policy's sampled tokens, vLLM's against the learner's forward, in both types. Adds its figures to
benchmarks/results/scale.json. What was done before it was interrupted is not done again. Left out: GPUs.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
import yaml
from recording import ROOT, SCALE, add_figures

from thinkery.models.loading import load_policy
from thinkery.problems.source import open_source
from thinkery.recipe import ProblemSpec, VLLMSpec
from thinkery.rollout.vllm.rollout import VLLMRollout
from thinkery.training.forward import packed_logprobs
from thinkery.training.packing import pack, split_microbatches
from thinkery.types import Dtype, Sampling

STEPS = 16
SAMPLES = 8  # of each of the 256 held-out problems
ENGINE = {"backend": "vllm", "enforce_eager": True, "max_model_len": 512}
PROBLEMS, GENERATIONS, LENGTH = 32, 16, 192  # of the log-probabilities


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=ROOT / "runs" / "scale-vllm")
    folder = parser.parse_args().folder
    figures: dict[str, float] = {"vllm_zero_steps": STEPS}
    for name, vllm in (("vllm", ENGINE), ("native", None)):
        summary = run(folder / name, vllm)
        base, zero = (part["eval"]["reasoning"] for part in (summary["base"], summary["stages"]["zero"]))
        prefix = "vllm_zero" if name == "vllm" else "vllm_zero_native"
        figures["vllm_zero_base_pass1"] = round(base["pass@1"], 4)
        figures[f"{prefix}_pass1"] = round(zero["pass@1"], 4)
        figures[f"{prefix}_pass1_low"], figures[f"{prefix}_pass1_high"] = (round(at, 4) for at in zero["pass@1_ci95"])
        figures[f"{prefix}_minutes"] = round(summary["stages"]["zero"]["seconds"] / 60, 2)
    place = folder / "vllm" / "checkpoints" / "zero" / "model"
    figures["vllm_logprob_diff_fp32"] = difference(place, "float32")
    figures["vllm_logprob_diff_bf16"] = difference(place, "bfloat16")
    print(json.dumps(figures, indent=2))
    add_figures(SCALE, "scale_vllm.py", figures)


def run(folder: Path, vllm: dict[str, Any] | None) -> dict[str, Any]:
    """The summary of a run of the shortened stage, made by the command that a user would type."""
    recipe = yaml.safe_load((ROOT / "recipes" / "mini.yaml").read_text())
    zero = next(stage for stage in recipe["stages"] if stage["name"] == "zero")
    evaluate = {"reasoning": recipe["evaluate"]["reasoning"] | {"num_samples": SAMPLES}}
    short = recipe | {"stages": [zero | {"steps": STEPS, "rollout": vllm}], "evaluate": evaluate}
    folder.mkdir(parents=True, exist_ok=True)
    path = folder.with_suffix(".yaml")
    path.write_text(yaml.safe_dump(short, sort_keys=False))
    command = [str(Path(sys.executable).parent / "thinkery"), "run", str(path), "--output-dir", str(folder)]
    subprocess.run(command, check=True, cwd=ROOT)
    summary: dict[str, Any] = json.loads((folder / "summary.json").read_text())
    return summary


def difference(place: Path, dtype: Dtype) -> float:
    """Mean absolute difference, in nats, of log-probabilities of sampled tokens: vLLM's and the learner's."""
    policy = load_policy(place, template=None, device="cpu", dtype=dtype)
    rollout = VLLMRollout(policy, spec=VLLMSpec(**ENGINE), max_slots=PROBLEMS * GENERATIONS)
    problems = open_source(ProblemSpec(source="mini", split="test")).draw(0, PROBLEMS)
    sampling = Sampling(GENERATIONS, max_completion_length=LENGTH)
    completions = list(rollout.generate(problems, sampling, seed=0, step=0, stage="difference"))
    differences = []
    for subset in split_microbatches(completions, range(len(completions)), 16384, 1):
        microbatch = pack(completions, subset, policy.device)
        with torch.no_grad():
            learners_N, _ = packed_logprobs(policy, policy.model, microbatch)
        engines = [logp for index in microbatch.indices for logp in completions[index].logprobs]
        differences.append((learners_N - torch.tensor(engines)).abs())
    return float(f"{torch.cat(differences).mean():.3g}")


if __name__ == "__main__":
    main()
