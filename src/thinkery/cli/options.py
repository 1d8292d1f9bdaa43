"""What the commands share: the application, options that several of them have, and errors as people want them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated

import typer

from thinkery import __version__
from thinkery.machine.interrupts import INTERRUPTS
from thinkery.machine.output import droppable_output
from thinkery.types import UserError

app = typer.Typer(
    help="DeepSeek-R1's training ladder as one resumable command.",
    epilog="Example: thinkery run recipes/mini.yaml",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # a defect of ours deserves the plain traceback
)


def _version(given: bool) -> None:
    if given:
        typer.echo(f"thinkery {__version__}")
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say which version this is, and stop.")
    ] = False,
) -> None:
    """What stands before a command."""


UnsafeLocal = Annotated[
    bool,
    typer.Option("--unsafe-local", help="Run untrusted programs as plain processes of yours where no isolation works."),
]


TrustRemoteCode = Annotated[
    bool,
    typer.Option(
        "--trust-remote-code", help="Run Python code that a checkpoint brings along, with all your account can do."
    ),
]


def allowed(*, unsafe_local: bool, trust_remote_code: bool = False) -> list[str]:
    """What the options allow, as fields of the recipe."""
    from thinkery.recipe import TRUST_REMOTE_CODE, UNSAFE_LOCAL

    return [field for field, given in ((UNSAFE_LOCAL, unsafe_local), (TRUST_REMOTE_CODE, trust_remote_code)) if given]


def columns_of(given: Sequence[str] | None) -> dict[str, str | None]:
    """``["prompt=question"]`` as ``{"prompt": "question"}``; nothing after the sign means that there is none."""
    columns: dict[str, str | None] = {}
    for text in given or []:
        ours, separator, theirs = text.partition("=")
        if not separator:
            raise UserError(f"--column {text}: write it as ours=theirs, for example prompt=question")
        columns[ours] = theirs or None
    return columns


@contextmanager
def plain_errors() -> Iterator[None]:
    """A user's mistake and a user's Ctrl-C are no reason for a traceback."""
    from thinkery.pipeline import Stopped

    try:
        yield
    except UserError as error:
        from thinkery.report.terminal import printable

        typer.echo(f"error: {printable(str(error))}", err=True)  # it may quote a file, or an endpoint
        raise typer.Exit(2) from None
    except Stopped as stopped:
        typer.echo(str(stopped), err=True)
        raise typer.Exit(INTERRUPTS.code) from None
    except KeyboardInterrupt:
        typer.echo(INTERRUPTS.last_words(), err=True)
        raise typer.Exit(INTERRUPTS.code) from None


@contextmanager
def running_stages() -> Iterator[None]:
    """What a command that trains needs besides: output that can go away, and a Ctrl-C or SIGTERM that saves."""
    with droppable_output(), INTERRUPTS.heeded():
        try:
            with plain_errors():
                yield
        except typer.Exit:
            if INTERRUPTS.number is not None:
                INTERRUPTS.exit()
            raise
