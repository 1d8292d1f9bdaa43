"""Commands on recipes and their runs: run, profile, report."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from thinkery.cli.options import TrustRemoteCode, UnsafeLocal, allowed, app, plain_errors, running_stages


@app.command(epilog="Example: thinkery run recipes/mini.yaml --output-dir runs/try --set zero.learning_rate=1e-4")
def run(
    recipe: Annotated[Path, typer.Argument(help="The recipe, a YAML file.", show_default=False)],
    output_dir: Annotated[
        Path | None, typer.Option(help="The run folder.", show_default="the recipe's output_dir, or runs/<name>")
    ] = None,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="FIELD=VALUE", help="Change a field of the recipe; repeatable.")
    ] = None,
    until: Annotated[str | None, typer.Option(metavar="STAGE", help="Stop after this stage.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check the recipe, say what would run, and stop.")] = False,
    seed: Annotated[int | None, typer.Option(help="Use this seed instead of the recipe's.")] = None,
    force: Annotated[
        bool,
        typer.Option("--force", help="Redo the stages that changes or damage touch; set aside what they had made."),
    ] = False,
    cluster: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Run on Ray: host:port, ray://host:port, local, or auto (the running cluster, else a local one).",
            show_default="the recipe's section cluster, else this process",
        ),
    ] = None,
    unsafe_local: UnsafeLocal = False,
    trust_remote_code: TrustRemoteCode = False,
) -> None:
    """Run a recipe. Run the same command again to resume: finished stages are skipped."""
    with running_stages():
        from thinkery.pipeline import describe_dry_run, run_recipe
        from thinkery.recipe import load_recipe
        from thinkery.report.terminal import make_view

        allow = allowed(unsafe_local=unsafe_local, trust_remote_code=trust_remote_code)
        loaded = load_recipe(recipe, overrides or [], seed, allow=allow)
        folder = output_dir or Path(loaded.output_dir or Path("runs") / loaded.name)
        if dry_run:
            typer.echo("\n".join(describe_dry_run(loaded, folder, until)))
            return
        with closing(make_view()) as view:
            run_recipe(loaded, folder, view=view, until=until, force=force, cluster=cluster)
        typer.echo(f"{folder / 'report.html'}")


@app.command(epilog="Example: thinkery profile recipes/mini.yaml --stage zero --steps 3 --json zero.json")
def profile(
    recipe: Annotated[Path, typer.Argument(help="The recipe, a YAML file.", show_default=False)],
    stage: Annotated[
        str | None, typer.Option(help="The stage, of kind rl or sft.", show_default="the first of them, rl before sft")
    ] = None,
    steps: Annotated[int, typer.Option(help="How many steps are measured, after one that warms up.")] = 3,
    run_folder: Annotated[
        Path | None,
        typer.Option("--run", metavar="FOLDER", help="A run of the recipe, for a stage that starts from another."),
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write the figures there as well.", show_default=False)
    ] = None,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="FIELD=VALUE", help="Change a field of the recipe; repeatable.")
    ] = None,
    unsafe_local: UnsafeLocal = False,
    trust_remote_code: TrustRemoteCode = False,
) -> None:
    """Say where the time of a stage's steps goes, and how near each part comes to what this machine can do."""
    with plain_errors():
        from rich.console import Console

        from thinkery.files import write_json_atomic
        from thinkery.profiling import profile_recipe
        from thinkery.recipe import load_recipe
        from thinkery.report.profile import show_profile
        from thinkery.report.terminal import make_view

        allow = allowed(unsafe_local=unsafe_local, trust_remote_code=trust_remote_code)
        loaded = load_recipe(recipe, overrides or [], allow=allow)
        with closing(make_view(Console(stderr=True))) as view:
            figures = profile_recipe(loaded, stage=stage, steps=steps, run=run_folder, view=view)
        if json_file is not None:
            write_json_atomic(json_file, figures)
        show_profile(figures, Console())


@app.command(epilog="Example: thinkery report runs/mini runs/mini-1 runs/mini-ablations")
def report(
    runs: Annotated[
        list[Path], typer.Argument(help="The run folder; several are tested together.", show_default=False)
    ],
    output: Annotated[
        Path | None,
        typer.Option(help="Where to write the page.", show_default="report.html of the run, pooled.html of several"),
    ] = None,
) -> None:
    """Write the report of a run, finished or in progress, or of several seeds and comparisons together."""
    with plain_errors():
        from thinkery.stages.report import report_runs

        typer.echo(f"{report_runs(runs, output)}")
