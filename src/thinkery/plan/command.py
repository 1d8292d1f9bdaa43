"""The command that says what a recipe will cost: plan."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from thinkery.cli.options import plain_errors


def add_to(app: typer.Typer) -> None:
    """Adds the command to the application."""
    app.command(epilog="Example: thinkery plan recipes/r1-qwen2.5-7b.yaml --gpus 64 --gpu h800")(plan)


def plan(
    recipe: Annotated[Path, typer.Argument(help="The recipe, a YAML file.", show_default=False)],
    gpus: Annotated[int | None, typer.Option(help="How many GPUs.", show_default="8")] = None,
    gpu: Annotated[
        str | None, typer.Option(help="Of which kind: a100, h100, h800, h200 or b200.", show_default="h100")
    ] = None,
    profile: Annotated[
        Path | None,
        typer.Option(help="Plan for the machine that thinkery profile --json measured, not for GPUs."),
    ] = None,
    price: Annotated[
        float | None, typer.Option(help="Dollars an hour of a GPU.", show_default="an assumption for each kind")
    ] = None,
    assume: Annotated[
        list[str] | None,
        typer.Option(metavar="STAGE.FIELD=VALUE", help="What the recipe doesn't say: zero.mean_length=500-9500, ..."),
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="The config.json of the recipe's base, where its sizes aren't known.")
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write the figures there as well.", show_default=False)
    ] = None,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="FIELD=VALUE", help="Change a field of the recipe; repeatable.")
    ] = None,
) -> None:
    """Say what a recipe will take before it runs: memory, seconds by part, hours and money, and what was assumed."""
    with plain_errors():
        from rich.console import Console

        from thinkery.files import write_json_atomic
        from thinkery.plan.cost_models import CostModel, GpuCluster, read_profile
        from thinkery.plan.estimate import plan_recipe
        from thinkery.plan.hardware import Cluster, gpu_named
        from thinkery.plan.page import show_plan
        from thinkery.recipe import load_recipe
        from thinkery.types import UserError

        if profile is not None and (gpus, gpu, price) != (None, None, None):
            raise UserError("--profile plans for the machine that was profiled: leave out --gpus, --gpu and --price")
        if json_file is not None and not json_file.parent.is_dir():
            raise UserError(f"--json {json_file}: there is no folder {json_file.parent}")
        loaded = load_recipe(recipe, overrides or [], allow=None)  # nothing of it is run
        cost_model: CostModel
        if profile is not None:
            cost_model = read_profile(profile)
        else:
            cost_model = GpuCluster(Cluster(gpu_named(gpu or "h100"), 8 if gpus is None else gpus))
        figures = plan_recipe(loaded, cost_model, assume=assume or [], config=config, usd_per_hour=price)
        if json_file is not None:
            write_json_atomic(json_file, figures)
        show_plan(figures, Console())
