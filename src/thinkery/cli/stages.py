"""One stage alone, on a user's own model and files: grpo, sft, collect, judge, reward-model, eval.

Every command builds a recipe of one stage (``commands.py``) and runs it as ``thinkery run`` does. The options are what
is needed most; ``--set`` reaches every other field of the stage.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from thinkery.cli.options import TrustRemoteCode, UnsafeLocal, allowed, app, columns_of, running_stages

if TYPE_CHECKING:
    from thinkery.commands import Order
    from thinkery.recipe import Recipe

Model = Annotated[str, typer.Option("--model", help="What to start from: a folder, a Hub id or thinkery://mini-base.")]
Problems = Annotated[
    list[str],
    typer.Option("--data", help="Problems: a file, a folder, owner/name, gym://family or mini; repeatable."),
]
Column = Annotated[
    list[str] | None, typer.Option("--column", metavar="OURS=THEIRS", help="What a column is called there; repeatable.")
]
Split = Annotated[str | None, typer.Option(help="The split of a data set.", show_default="train")]
Template = Annotated[
    str | None,
    typer.Option(help="r1-zero, r1-zero-compact, r1-compact or chat-think.", show_default="the one saved with it"),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="FIELD=VALUE", help="Change any other field of the stage; repeatable."),
]
Seed = Annotated[int | None, typer.Option(help="Randomness is counted from it.", show_default="0")]
Force = Annotated[
    bool,
    typer.Option("--force", help="Do it again where options, files or damage ask for it; set aside what was made."),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Check everything, say what would run, and stop.")]
Limit = Annotated[int | None, typer.Option(help="How many of the problems, of each source.", show_default="all")]
LearningRate = Annotated[float | None, typer.Option(help="At its peak.", show_default="the stage's")]
MaxLength = Annotated[int | None, typer.Option(help="Tokens of a completion at most.", show_default="256")]
Judge = Annotated[str | None, typer.Option(help="Who judges where no rule can: http://host/v1, or mini's labeller.")]
JudgeModel = Annotated[str | None, typer.Option(help="The model to ask there.")]
ApiKeyEnv = Annotated[str | None, typer.Option(help="The environment variable that holds the key.")]


def output(command: str) -> Any:
    """The option for a command's run folder."""
    return typer.Option("--output-dir", help="The run folder.", show_default=f"runs/{command}")


@app.command(epilog="Example: thinkery grpo --model Qwen/Qwen2.5-1.5B --data problems.jsonl --template r1-zero")
def grpo(
    model: Model,
    data: Problems,
    output_dir: Annotated[Path | None, output("grpo")] = None,
    reward: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME[=WEIGHT]", help="What is paid for; repeatable.", show_default="accuracy and format, alike"
        ),
    ] = None,
    preset: Annotated[
        str | None, typer.Option(help="grpo, dapo, dr_grpo or ppo: fills the objective.", show_default="none")
    ] = None,
    steps: Annotated[int, typer.Option(help="Updates.")] = 200,
    learning_rate: Annotated[float, typer.Option(help="DeepSeek-R1's is 3e-6.")] = 3e-6,
    num_problems: Annotated[int | None, typer.Option(help="Problems a step.", show_default="32")] = None,
    num_generations: Annotated[int | None, typer.Option(help="Completions a problem.", show_default="16")] = None,
    max_completion_length: MaxLength = None,
    template: Template = None,
    column: Column = None,
    split: Split = None,
    overrides: Overrides = None,
    seed: Seed = None,
    force: Force = False,
    dry_run: DryRun = False,
    unsafe_local: UnsafeLocal = False,
    trust_remote_code: TrustRemoteCode = False,
) -> None:
    """Train a model with GRPO on problems that rules can check."""
    with running_stages():
        from thinkery.commands import grpo_recipe

        allow = allowed(unsafe_local=unsafe_local, trust_remote_code=trust_remote_code)
        order = _order("grpo", model, data, column, split, template, seed, overrides, allow)
        recipe = grpo_recipe(
            order,
            reward or ["accuracy", "format"],
            preset=preset,
            steps=steps,
            learning_rate=learning_rate,
            num_problems=num_problems,
            num_generations=num_generations,
            max_completion_length=max_completion_length,
        )
        _run(recipe, output_dir, force, dry_run)


@app.command(epilog="Example: thinkery sft --model Qwen/Qwen2.5-7B --data demonstrations.jsonl --template chat-think")
def sft(
    model: Model,
    data: Annotated[
        list[str], typer.Option("--data", help="Demonstrations: a file, a folder or owner/name; repeatable.")
    ],
    output_dir: Annotated[Path | None, output("sft")] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the data.", show_default="2")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Demonstrations an update.", show_default="128")] = None,
    learning_rate: LearningRate = None,
    max_length: Annotated[
        int | None, typer.Option(help="Tokens; longer demonstrations are left out.", show_default="32768")
    ] = None,
    template: Template = None,
    column: Column = None,
    split: Split = None,
    overrides: Overrides = None,
    seed: Seed = None,
    force: Force = False,
    dry_run: DryRun = False,
    trust_remote_code: TrustRemoteCode = False,
) -> None:
    """Fine-tune a model on demonstrations: a cold start, or distillation into a student."""
    with running_stages():
        from thinkery.commands import sft_recipe

        allow = allowed(unsafe_local=False, trust_remote_code=trust_remote_code)
        order = _order("sft", model, data, column, split, template, seed, overrides, allow)
        recipe = sft_recipe(
            order, epochs=epochs, batch_size=batch_size, learning_rate=learning_rate, max_length=max_length
        )
        _run(recipe, output_dir, force, dry_run)


@app.command(epilog="Example: thinkery collect --model runs/grpo/checkpoints/grpo/model --data problems.jsonl")
def collect(
    model: Model,
    data: Problems,
    output_dir: Annotated[Path | None, output("collect")] = None,
    num_generations: Annotated[int | None, typer.Option(help="Samples a problem.", show_default="4")] = None,
    temperature: Annotated[float | None, typer.Option(help="Of sampling.", show_default="1.0")] = None,
    max_completion_length: MaxLength = None,
    limit: Limit = None,
    refine: Annotated[
        str | None, typer.Option(help="Rewrite what is kept: rules or few-shot.", show_default="as sampled")
    ] = None,
    judge: Judge = None,
    judge_model: JudgeModel = None,
    api_key_env: ApiKeyEnv = None,
    template: Template = None,
    column: Column = None,
    split: Split = None,
    overrides: Overrides = None,
    seed: Seed = None,
    force: Force = False,
    dry_run: DryRun = False,
    unsafe_local: UnsafeLocal = False,
    trust_remote_code: TrustRemoteCode = False,
) -> None:
    """Sample answers and keep what is correct and readable, as demonstrations."""
    with running_stages():
        from thinkery.commands import collect_recipe

        allow = allowed(unsafe_local=unsafe_local, trust_remote_code=trust_remote_code)
        order = _order("collect", model, data, column, split, template, seed, overrides, allow)
        recipe = collect_recipe(
            order,
            limit,
            _judge(judge, judge_model, api_key_env),
            num_generations=num_generations,
            temperature=temperature,
            max_completion_length=max_completion_length,
            refine=None if refine is None else {"by": refine},
        )
        _run(recipe, output_dir, force, dry_run)


@app.command(
    epilog="Example: thinkery judge --task safety --model ./sft --data prompts.jsonl --judge http://host/v1 "
    "--judge-model Qwen3-32B"
)
def judge(
    model: Model,
    data: Problems,
    task: Annotated[str, typer.Option(help="preference makes pairs, safety makes labels.")],
    judge: Annotated[str, typer.Option(help="Who judges: http://host/v1, or mini's labeller.")],
    output_dir: Annotated[Path | None, output("judge")] = None,
    judge_model: JudgeModel = None,
    api_key_env: ApiKeyEnv = None,
    other: Annotated[
        list[str] | None, typer.Option(help="A further model that answers; repeatable.", show_default="none")
    ] = None,
    num_generations: Annotated[int | None, typer.Option(help="Answers of each model.", show_default="2")] = None,
    max_completion_length: MaxLength = None,
    limit: Limit = None,
    template: Template = None,
    column: Column = None,
    split: Split = None,
    overrides: Overrides = None,
    seed: Seed = None,
    force: Force = False,
    dry_run: DryRun = False,
    trust_remote_code: TrustRemoteCode = False,
) -> None:
    """Have a model's answers judged: preference pairs or safety labels for a reward model."""
    with running_stages():
        from thinkery.commands import judge_recipe

        allow = allowed(unsafe_local=False, trust_remote_code=trust_remote_code)
        order = _order("judge", model, data, column, split, template, seed, overrides, allow)
        recipe = judge_recipe(
            order,
            limit,
            _judge(judge, judge_model, api_key_env) or {},
            task=task,
            others=other,
            num_generations=num_generations,
            max_completion_length=max_completion_length,
        )
        _run(recipe, output_dir, force, dry_run)


@app.command(
    "reward-model", epilog="Example: thinkery reward-model --model ./sft --data pairs.jsonl --objective pairwise"
)
def reward_model(
    model: Model,
    data: Annotated[
        list[str], typer.Option("--data", help="Pairs or labels: a file, a folder or owner/name; repeatable.")
    ],
    objective: Annotated[str, typer.Option(help="pairwise learns from pairs, pointwise from safe and unsafe.")],
    output_dir: Annotated[Path | None, output("reward-model")] = None,
    reads: Annotated[
        str | None,
        typer.Option(help="summary (after the thinking) or response.", show_default="summary of pairs, else response"),
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the data.", show_default="1")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Pairs or labels an update.", show_default="256")] = None,
    learning_rate: LearningRate = None,
    template: Template = None,
    column: Column = None,
    split: Split = None,
    overrides: Overrides = None,
    seed: Seed = None,
    force: Force = False,
    dry_run: DryRun = False,
    trust_remote_code: TrustRemoteCode = False,
) -> None:
    """Train a reward model from preference pairs or safety labels."""
    with running_stages():
        from thinkery.commands import reward_model_recipe

        allow = allowed(unsafe_local=False, trust_remote_code=trust_remote_code)
        order = _order("reward-model", model, data, column, split, template, seed, overrides, allow)
        recipe = reward_model_recipe(
            order, objective, reads, epochs=epochs, batch_size=batch_size, learning_rate=learning_rate
        )
        _run(recipe, output_dir, force, dry_run)


@app.command("eval", epilog="Example: thinkery eval --model runs/sft/checkpoints/sft/model --data math500.jsonl")
def evaluate(
    model: Model,
    data: Problems,
    output_dir: Annotated[Path | None, output("eval")] = None,
    num_samples: Annotated[int | None, typer.Option(help="Samples a problem.", show_default="16")] = None,
    temperature: Annotated[float | None, typer.Option(help="Of sampling.", show_default="0.6")] = None,
    max_completion_length: MaxLength = None,
    limit: Limit = None,
    judge: Judge = None,
    judge_model: JudgeModel = None,
    api_key_env: ApiKeyEnv = None,
    template: Template = None,
    column: Column = None,
    split: Annotated[str | None, typer.Option(help="The split of a data set.", show_default="test")] = None,
    overrides: Overrides = None,
    seed: Seed = None,
    force: Force = False,
    dry_run: DryRun = False,
    unsafe_local: UnsafeLocal = False,
    trust_remote_code: TrustRemoteCode = False,
) -> None:
    """Measure a model on held-out problems and print the figures."""
    with running_stages():
        from thinkery.commands import eval_recipe, figures

        allow = allowed(unsafe_local=unsafe_local, trust_remote_code=trust_remote_code)
        order = _order("eval", model, data, column, split, template, seed, overrides, allow)
        recipe = eval_recipe(
            order,
            limit,
            num_samples=num_samples,
            temperature=temperature,
            max_completion_length=max_completion_length,
            judge=_judge(judge, judge_model, api_key_env),
        )
        summary = _run(recipe, output_dir, force, dry_run)
        if summary is not None:
            typer.echo("\n".join(figures(summary)))


def _order(
    name: str,
    model: str,
    data: list[str],
    column: list[str] | None,
    split: str | None,
    template: str | None,
    seed: int | None,
    overrides: list[str] | None,
    allow: list[str],
) -> Order:
    from thinkery.commands import Order

    return Order(name, model, data, columns_of(column), split, template, seed, overrides or [], allow)


def _judge(source: str | None, model: str | None, api_key_env: str | None) -> Mapping[str, Any] | None:
    given = {"source": source, "model": model, "api_key_env": api_key_env}
    named = {field: value for field, value in given.items() if value is not None}
    return named or None


def _run(recipe: Recipe, output_dir: Path | None, force: bool, dry_run: bool) -> dict[str, Any] | None:
    """Runs a recipe of one stage and says where its result is."""
    from thinkery.commands import result_of
    from thinkery.pipeline import plan, run_recipe
    from thinkery.report.terminal import make_view

    folder = output_dir or Path("runs") / recipe.name
    if dry_run:
        typer.echo("\n".join(plan(recipe, folder)))
        return None
    with closing(make_view()) as view:
        summary = run_recipe(recipe, folder, view=view, force=force)
    if recipe.stages:
        typer.echo(f"{result_of(recipe, folder)}")
    typer.echo(f"{folder / 'report.html'}")
    return summary
