"""Measure one peer in one case, in this process, and print one line of JSON.

`overhead.py` runs this with the Python of the peer's own environment, so that nothing one peer imports, starts or leaves
behind is in another's figures. By hand, in an environment that has the peer, for a second or two:

    python bench/one.py floor closed --loop uvloop --size 64
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import json
from collections.abc import Callable

from harness import cases


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("peer", help="the name of a file in bench/peers")
    parser.add_argument("kind", choices=cases.KINDS)
    parser.add_argument("--loop", choices=("uvloop", "asyncio"), default="uvloop")
    parser.add_argument("--size", type=int, default=64, help="callers, tasks or items; see the case")
    parser.add_argument("--seconds", type=float, default=0.5, help="about how long to measure")
    parser.add_argument("--max-batch-size", type=int, default=64)
    options = parser.parse_args()
    peer = importlib.import_module(f"peers.{options.peer}")
    case = cases.KINDS[options.kind](peer, options.size, options.seconds, options.max_batch_size)
    with asyncio.Runner(loop_factory=factory(options.loop)) as runner:
        print(json.dumps(runner.run(case)))


def factory(loop: str) -> Callable[[], asyncio.AbstractEventLoop]:
    if loop == "asyncio":
        return asyncio.new_event_loop
    import uvloop

    return uvloop.new_event_loop


if __name__ == "__main__":
    main()
