"""python -m asyncbatch: the commands. The module of a command is imported only when that command is chosen."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ("main",)

# Each is a module beside this one, with a `main` that takes its arguments and returns an exit status.
COMMANDS = {
    "demo": "search the standard library's docstrings one query at a time and in batches, and compare",
    "tune": "measure your function, and find the settings that suit it",
    "top": "show what the batchers of a running program do, live",
}

# What a shell reports of a program that was ended by the signal for Ctrl-C, or for a pipe that nobody reads any more.
_INTERRUPTED = 130
_PIPE_CLOSED = 141


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that `arguments` name, by default those of the command line, and return the exit status."""
    try:
        try:
            return _run(arguments)
        finally:
            print(end="", flush=True)  # noqa: T201  # while a closed pipe can still be caught
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)  # noqa: T201
        return _INTERRUPTED
    except BrokenPipeError:
        _point_to_nowhere()
        return _PIPE_CLOSED
    except OSError as error:  # a full disk, or a file that cannot be written
        print(f"error: {error}", file=sys.stderr)  # noqa: T201
        return 1


def _run(arguments: Sequence[str] | None) -> int:
    parser = _parser()
    chosen = parser.parse_args(arguments)
    if chosen.command is None:
        parser.print_help()
        return 0
    command = importlib.import_module(f"asyncbatch.{chosen.command}")
    status: int = command.main(chosen.arguments)
    return status


def _parser() -> argparse.ArgumentParser:
    width = max(map(len, COMMANDS))
    parser = argparse.ArgumentParser(
        prog="python -m asyncbatch",
        description="Tools around asyncbatch.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="\n".join(["commands:", *(f"  {name:<{width}}  {about}" for name, about in COMMANDS.items())]),
    )
    parser.add_argument("command", nargs="?", choices=COMMANDS, metavar="command", help="one of those below")
    parser.add_argument(
        "arguments", nargs=argparse.REMAINDER, metavar="...", help="its options; `command --help` lists them"
    )
    return parser


def _point_to_nowhere() -> None:
    """Let what is still buffered for the closed pipe go nowhere, or the interpreter complains of it as it exits."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in filter(None, (sys.stdout, sys.stderr)):
        os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


if __name__ == "__main__":
    sys.exit(main())
