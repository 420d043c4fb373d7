"""What can be set: the options of `python -m asyncbatch tune`."""

from __future__ import annotations

import argparse
import math
from pathlib import Path

__all__ = ("THOROUGH", "parser")

THOROUGH = 20.0  # who measures for less than so many seconds wants to know soon, and roughly
_SIZES = range(2, 65_537)  # a mistyped one shall not fill the memory
_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0}


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m asyncbatch tune",
        usage="%(prog)s module:function --items FILE [options]",
        description="Run your function in batches of many sizes, simulate asyncbatch with the times it took, and say which "
        "settings suit: what batching gains, the code to copy, and how much traffic it can take.",
        epilog="It takes about twice --seconds, and half a minute of simulating.",
    )
    add = parser.add_argument
    add(
        "function", metavar="module:function", help="of a list of items, sync or async, or a class of such; found from here"
    )
    add(
        "--items",
        type=Path,
        required=True,
        metavar="FILE",
        help="some real items: a list in .json, a line each in .jsonl, rows of .npy, or else lines of text",
    )
    add("--objective", type=_duration, metavar="TIME", help="to answer within, as 50ms or 1.5s (default: 3 batches)")
    traffic = parser.add_mutually_exclusive_group()
    traffic.add_argument("--rate", type=_number, metavar="N", help="requests a second (default: half of what can be done)")
    traffic.add_argument(
        "--trace",
        type=Path,
        metavar="FILE",
        help="when requests came, in seconds, in a file as for --items; the first 12,000 count",
    )
    add("--max-batch-size", type=_size, default=64, metavar="N", help="the largest batch to try (default: %(default)s)")
    add("--executor", choices=("thread", "process", "inline"), help="(default: inline for async, else thread)")
    add("--seconds", type=_number, default=THOROUGH, metavar="S", help="to measure for (default: %(default)g)")
    add("--price", type=_number, metavar="$", help="of an hour of work; then the settings with the least work are chosen")
    add("--html", type=Path, metavar="FILE", help="write the report there, with a chart")
    add("--png", type=Path, metavar="FILE", help="draw the chart there")
    return parser


def _number(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if 0 < number < math.inf:
        return number
    raise argparse.ArgumentTypeError(f"must be a number above 0, not {text!r}")


def _duration(text: str) -> float:
    unit = next((each for each in _UNITS if text.endswith(each)), None)
    if unit is None:
        raise argparse.ArgumentTypeError(f"must be a time with its unit, as 50ms or 1.5s, not {text!r}")
    return _number(text.removesuffix(unit).strip()) * _UNITS[unit]


def _size(text: str) -> int:
    if text.isdecimal() and int(text) in _SIZES:
        return int(text)
    raise argparse.ArgumentTypeError(f"must be a whole number from {_SIZES[0]} to {_SIZES[-1]}, not {text!r}")
