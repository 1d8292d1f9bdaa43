"""The whole R1-Zero loop in one file: a base model that learns to reason from problems and rules alone.

    python examples/rl_loop.py                    # the miniature base: 0.2 -> over 0.5, minutes on two CPU cores
    python examples/rl_loop.py --problems mine.jsonl --held-out test.jsonl --model Qwen/Qwen2.5-0.5B

Every step samples a group of completions for each problem, grades them by rule, turns each group's rewards into
advantages (DeepSeekMath, section 4.1) and updates the policy once. Nobody shows the model a solution. Read it from the
top to the bottom: the parts are those that ``thinkery run`` puts together, and each line of the loop is one of them.
Left out: checkpoints, the record of a run, its report, clusters; a recipe has them (``recipes/mini.yaml``).

Array names end in their axes: P problems of a step, G completions of a problem, N all completions of a step.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

from thinkery.models.loading import Policy, load_policy, save_policy
from thinkery.models.template import TEMPLATES
from thinkery.problems.source import ProblemSource, open_source
from thinkery.recipe import ProblemSpec, RewardSpec
from thinkery.rewards.grader import Grader, GraderSpec
from thinkery.rollout import NativeRollout, ResumableRollout
from thinkery.training.learner import Learner, LearnerConfig, Sample
from thinkery.training.losses import group_advantages
from thinkery.types import Group, Problem, Sampling, UserError

# The paper's rewards: a correct final answer, and the thinking between its tags; both weigh the same.
REWARDS = {"accuracy": RewardSpec(), "format": RewardSpec()}


def main() -> None:
    """Measures the model, trains it, and measures it again on problems that it has never seen."""
    options = read_options()
    policy = load_policy(options.model, template=TEMPLATES[options.template])
    train = open_source(ProblemSpec(source=options.problems))
    test = open_source(ProblemSpec(source=options.held_out or options.problems, split="test"))
    held_out = test.fixed(options.held_out_problems)

    rollout = NativeRollout(policy)  # samples from the very weights that learn: nothing has to be copied over
    learner = Learner(policy, learner_config(options))
    with Grader(GraderSpec(policy.template, REWARDS, options.max_completion_length)) as grader:
        before = pass_at_1(rollout, grader, held_out, options)
        print(f"pass@1 before: {before:.3f}", flush=True)
        rewards = [
            train_one_step(step, policy, train, rollout, grader, learner, options) for step in range(options.steps)
        ]
        after = pass_at_1(rollout, grader, held_out, options)
        print(f"pass@1 after: {after:.3f}", flush=True)

    figures = {"pass1_before": before, "pass1_after": after, "rewards": rewards}
    if options.results is not None:
        options.results.write_text(json.dumps(figures, indent=2) + "\n")
    if options.save is not None:
        save_policy(policy, options.save)  # a Hugging Face folder: transformers, vLLM and recipes can load it


def train_one_step(
    step: int,
    policy: Policy,
    source: ProblemSource,
    rollout: ResumableRollout,
    grader: Grader,
    learner: Learner,
    options: argparse.Namespace,
) -> float:
    """One step of GRPO; returns the mean reward of its completions."""
    started = time.monotonic()
    # 1. Problems: step after step the next ones of an endless sequence.
    problems_P = source.draw(step * options.num_problems, options.num_problems)
    # 2. Rollout and 3. grading, which overlap: a completion is graded as soon as it has ended.
    sampling = Sampling(
        num_generations=options.num_generations,
        temperature=1.0,
        max_completion_length=options.max_completion_length,
    )
    groups_P = sample_and_grade(rollout, grader, problems_P, sampling, step=step, stage="zero", seed=options.seed)
    # 4. Advantages: how much better a completion is than the others of its group.
    totals_PG = [group.totals_G for group in groups_P]
    advantages_PG = group_advantages(totals_PG)
    # 5. The update: what did better than its group becomes more likely.
    samples_N = [
        Sample(completion.prompt_ids, completion.token_ids, completion.logprobs, advantage)
        for group, advantages_G in zip(groups_P, advantages_PG, strict=True)
        for completion, advantage in zip(group.completions_G, advantages_G, strict=True)
    ]
    metrics = learner.update(samples_N, step)

    reward = statistics.fmean(total for totals_G in totals_PG for total in totals_G)
    accuracy = statistics.fmean(verdict.correct for group in groups_P for verdict in group.verdicts_G)
    length = statistics.fmean(len(sample.token_ids) for sample in samples_N)
    print(
        f"step {step + 1:3}  reward {reward:.3f}  accuracy {accuracy:.3f}  tokens {length:5.1f}  "
        f"grad_norm {metrics.get('grad_norm', 0.0):.2f}  {time.monotonic() - started:.1f} s  (policy {policy.version})",
        flush=True,
    )
    return reward


def sample_and_grade(
    rollout: ResumableRollout,
    grader: Grader,
    problems_P: Sequence[Problem],
    sampling: Sampling,
    *,
    step: int,
    stage: str,
    seed: int,
) -> list[Group]:
    """The problems with G graded completions each.

    The random numbers of a token are counted from seed, stage, step, problem, completion and position: the same call
    samples the same completions.
    """
    by_id = {problem.id: problem for problem in problems_P}
    for completion in rollout.generate(problems_P, sampling, seed=seed, step=step, stage=stage):
        grader.submit(by_id[completion.problem_id], completion)
    return grader.collect(problems_P, sampling.num_generations)


def pass_at_1(
    rollout: ResumableRollout, grader: Grader, problems_P: Sequence[Problem], options: argparse.Namespace
) -> float:
    """The share of correct completions, as the paper measures it: temperature 0.6, top-p 0.95, several a problem."""
    sampling = Sampling(
        num_generations=4, temperature=0.6, top_p=0.95, max_completion_length=options.max_completion_length
    )
    groups_P = sample_and_grade(rollout, grader, problems_P, sampling, step=0, stage="evaluate", seed=options.seed)
    return statistics.fmean(verdict.correct for group in groups_P for verdict in group.verdicts_G)


def learner_config(options: argparse.Namespace) -> LearnerConfig:
    """GRPO as in the paper, with DAPO's wider upper clip: without a KL term, one update a step."""
    return LearnerConfig(
        learning_rate=options.learning_rate,
        lr_scheduler_type="linear",
        warmup_steps=min(3, options.steps - 1),
        total_steps=options.steps,
        epsilon=0.2,
        epsilon_high=0.28,
        microbatch_tokens=4096,
        temperature=1.0,
        max_completion_length=options.max_completion_length,
        seed=options.seed,
    )


def read_options() -> argparse.Namespace:
    """What the command line says; the defaults are those of the miniature."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model", default="thinkery://mini-base", help="a folder, a Hub id, or a shipped model")
    parser.add_argument("--template", default="r1-zero-compact", choices=sorted(TEMPLATES))
    parser.add_argument("--problems", default="mini", help="mini, a file, a data set of the Hub, or gym://family")
    parser.add_argument("--held-out", help="the problems to measure with; default: the test split of --problems")
    parser.add_argument("--held-out-problems", type=int, default=256)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--num-problems", type=int, default=32, help="problems a step")
    parser.add_argument("--num-generations", type=int, default=16, help="completions a problem")
    parser.add_argument("--max-completion-length", type=int, default=192, help="tokens")
    parser.add_argument("--learning-rate", type=float, default=3e-4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--results", type=Path, help="a JSON file for the figures")
    parser.add_argument("--save", type=Path, help="a folder for the trained model")
    return parser.parse_args()


if __name__ == "__main__":
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # a tokenizer must not fork threads into other processes
    try:
        main()
    except UserError as mistake:
        raise SystemExit(f"error: {mistake}") from None
