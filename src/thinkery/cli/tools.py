"""Commands that look after problems and the machine: verify, decontaminate, doctor."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from thinkery.cli.options import UnsafeLocal, app, columns_of, plain_errors, unsafe


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
    with plain_errors():
        from rich.console import Console

        from thinkery.recipe import load_verification
        from thinkery.report.terminal import make_view
        from thinkery.stages.verify import verify_problems

        verification = load_verification([*(overrides or []), *unsafe(unsafe_local)])
        with closing(make_view(Console(stderr=True))) as view:
            report = verify_problems(
                problems,
                verifier=reward,
                verification=verification,
                template=template,
                split=split,
                columns=columns_of(columns),
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
    with plain_errors():
        from thinkery.stages.decontaminate import decontaminate_problems

        report = decontaminate_problems(
            problems,
            against=against or [],
            output=output,
            split=split,
            columns=columns_of(columns),
            words=words,
            characters=characters,
            answers=answers,
            deduplicate=deduplicate,
        )
        typer.echo(report.render())


@app.command(epilog="Example: thinkery doctor")
def doctor() -> None:
    """Say what works on this machine: which isolation for untrusted programs, and why not the others."""
    with plain_errors():
        from thinkery.machine import allocator
        from thinkery.machine.installation import hardware
        from thinkery.rollout.native import kernels
        from thinkery.sandbox.doctor import diagnose, render

        for name, value in [
            *hardware().items(),
            ("jemalloc", allocator.words()),
            ("compiled operations", kernels.words()),
        ]:
            typer.echo(f"    {name}: {value}")
        findings = diagnose()
        typer.echo(render(findings))
    raise typer.Exit(0 if findings[0].ok else 1)
