"""The commands. Parses and calls, decides nothing.

Heavy libraries are imported by what needs them, so that ``--help`` and mistakes answer at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Annotated

import typer

from thinkery.types import UserError

app = typer.Typer(
    help="DeepSeek-R1's training ladder as one resumable command.",
    epilog="Example: thinkery run recipes/mini.yaml",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # a defect of ours deserves the plain traceback
)


UnsafeLocal = Annotated[
    bool,
    typer.Option("--unsafe-local", help="Run untrusted programs as plain processes of yours where no isolation works."),
]


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
        bool, typer.Option("--force", help="Go on with a changed recipe; redo the stages that the changes touch.")
    ] = False,
    unsafe_local: UnsafeLocal = False,
) -> None:
    """Run a recipe. Run the same command again to resume: finished stages are skipped."""
    with _plain_errors():
        from thinkery.pipeline import plan, run_recipe
        from thinkery.recipe import load_recipe
        from thinkery.report.terminal import make_view

        loaded = load_recipe(recipe, [*(overrides or []), *_unsafe(unsafe_local)], seed)
        folder = output_dir or Path(loaded.output_dir or Path("runs") / loaded.name)
        if dry_run:
            typer.echo("\n".join(plan(loaded, folder, until)))
            return
        with closing(make_view()) as view:
            run_recipe(loaded, folder, view=view, until=until, force=force)
        typer.echo(f"{folder / 'report.html'}")


@app.command(epilog="Example: thinkery verify problems.jsonl --reward math")
def verify(
    problems: Annotated[
        str, typer.Argument(help="A file, a folder of datasets, or owner/name on the Hub.", show_default=False)
    ],
    reward: Annotated[
        str | None,
        typer.Option(help="Who judges: math, code, choice, gym.", show_default="as the columns say"),
    ] = None,
    columns: Annotated[
        list[str] | None,
        typer.Option("--column", metavar="OURS=THEIRS", help="What a column is called there; repeatable."),
    ] = None,
    split: Annotated[str, typer.Option(help="The split of a data set.")] = "train",
    template: Annotated[str, typer.Option(help="How a completion is written.")] = "r1-zero",
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="FIELD=VALUE", help="Change a field of verification; repeatable."),
    ] = None,
    unsafe_local: UnsafeLocal = False,
) -> None:
    """Check that every problem's own answer is accepted, and list those that are not, by line."""
    with _plain_errors():
        from rich.console import Console

        from thinkery.recipe import load_verification
        from thinkery.report.terminal import make_view
        from thinkery.stages.verify import verify_problems

        verification = load_verification([*(overrides or []), *_unsafe(unsafe_local)])
        with closing(make_view(Console(stderr=True))) as view:
            report = verify_problems(
                problems,
                verifier=reward,
                verification=verification,
                template=template,
                split=split,
                columns=_columns(columns),
                progress=view.progress,
            )
        typer.echo(report.render())
    raise typer.Exit(0 if report.ok else 1)


@app.command(
    epilog="Example: thinkery decontaminate train.jsonl --against math500.jsonl --output clean.jsonl --deduplicate"
)
def decontaminate(
    problems: Annotated[str, typer.Argument(help="What to clean: a file, a folder or owner/name.", show_default=False)],
    against: Annotated[
        list[str] | None, typer.Option(help="A benchmark whose problems must not be in it; repeatable.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="Where to write what is left (.jsonl).", show_default="only report")
    ] = None,
    words: Annotated[int, typer.Option(help="Length of the shared n-grams, in words.")] = 10,
    characters: Annotated[int, typer.Option(help="The same in characters, for Chinese and Japanese.")] = 16,
    answers: Annotated[bool, typer.Option("--answers", help="Compare answers as well as prompts.")] = False,
    deduplicate: Annotated[
        bool, typer.Option("--deduplicate", help="Take out what repeats an earlier problem, exactly or nearly.")
    ] = False,
    columns: Annotated[
        list[str] | None,
        typer.Option("--column", metavar="OURS=THEIRS", help="What a column is called there; repeatable."),
    ] = None,
    split: Annotated[str, typer.Option(help="The split of a data set.")] = "train",
) -> None:
    """Take out of a set of problems what benchmarks hold, and what it holds twice; say what and why."""
    with _plain_errors():
        from thinkery.stages.decontaminate import decontaminate_problems

        report = decontaminate_problems(
            problems,
            against=against or [],
            output=output,
            split=split,
            columns=_columns(columns),
            words=words,
            characters=characters,
            answers=answers,
            deduplicate=deduplicate,
        )
        typer.echo(report.render())


@app.command(epilog="Example: thinkery doctor")
def doctor() -> None:
    """Say what works on this machine: which isolation for untrusted programs, and why not the others."""
    with _plain_errors():
        from thinkery.machine import hardware
        from thinkery.sandbox.doctor import diagnose, render

        for name, value in hardware().items():
            typer.echo(f"    {name}: {value}")
        findings = diagnose()
        typer.echo(render(findings))
    raise typer.Exit(0 if findings[0].ok else 1)


@app.command(epilog="Example: thinkery report runs/mini")
def report(run: Annotated[Path, typer.Argument(help="The run folder.", show_default=False)]) -> None:
    """Write report.html for a run, finished or in progress."""
    with _plain_errors():
        from thinkery.report.html import write_report

        if not (run / "manifest.json").exists():
            raise UserError(f"{run} is no run folder: it has no manifest.json")
        typer.echo(f"{write_report(run)}")


def _unsafe(unsafe_local: bool) -> list[str]:
    return ["verification.code.unsafe_local=true"] if unsafe_local else []


def _columns(given: list[str] | None) -> dict[str, str | None]:
    """``["prompt=question"]`` as ``{"prompt": "question"}``; nothing after the sign means that there is none."""
    columns: dict[str, str | None] = {}
    for text in given or []:
        ours, separator, theirs = text.partition("=")
        if not separator:
            raise UserError(f"--column {text}: write it as ours=theirs, for example prompt=question")
        columns[ours] = theirs or None
    return columns


@contextmanager
def _plain_errors() -> Iterator[None]:
    """A user's mistake and a user's Ctrl-C are no reason for a traceback."""
    from thinkery.pipeline import Stopped

    try:
        yield
    except UserError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from None
    except Stopped as stopped:
        typer.echo(str(stopped), err=True)
        raise typer.Exit(130) from None
    except KeyboardInterrupt:
        typer.echo("stopped before the first step; run the same command to go on", err=True)
        raise typer.Exit(130) from None


def main() -> None:
    """The entry point of the ``thinkery`` command."""
    app()
