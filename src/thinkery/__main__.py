"""Where the ``thinkery`` command, and ``python -m thinkery``, begin."""

from thinkery.machine.allocator import start_with_jemalloc


def main() -> None:
    """Chooses a malloc, which only a process that has not begun can do, and hands over to the commands."""
    start_with_jemalloc()
    from thinkery.cli import app

    app()


if __name__ == "__main__":
    main()
