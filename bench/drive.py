"""Drive one peer with recorded arrivals, in this process, and print what its callers saw as one line of JSON.

`in_time.py` runs this with the Python of the peer's own environment, and says how long all of them take. The file says what
to run, as a list of cells: the times at which callers come, what a batch of b takes, which is fixed + each * b, and what
the peer is told: the size of a batch, for how long to wait for one to fill, within what time callers want to be answered. A
peer takes each cell as it comes and, if its `open` can be told of them, with the wait or with the objective of the cell.
Who gets no answer waits for ever, which JSON has no number for: it says null. Latencies are of those who came after as many
as the cell leaves for learning.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import json
from pathlib import Path
from typing import Any

from harness import clock, served


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("peer", help="the name of a file in bench/peers")
    parser.add_argument("cells", type=Path, metavar="FILE")
    parser.add_argument("--live", action="store_true", help="in real time")
    options = parser.parse_args()
    peer = importlib.import_module(f"peers.{options.peer}")
    cells = json.loads(options.cells.read_text())
    rows = asyncio.run(in_real_time(peer, cells)) if options.live else in_virtual_time(peer, cells)
    print(json.dumps([{"peer": f"{options.peer} {row['way']}".strip(), **row} for row in rows]))


def in_virtual_time(peer: Any, cells: list[served.Json]) -> list[served.Json]:
    rows = []
    for cell in cells:
        for way, told in served.ways(peer, cell):
            with asyncio.Runner(loop_factory=clock.virtual) as runner:  # each starts at 0
                rows.append(runner.run(served.drive(peer, cell, way, told, live=False)))
    return rows


async def in_real_time(peer: Any, cells: list[served.Json]) -> list[served.Json]:
    inside = getattr(peer, "inside", None)  # in a process that the peer's service has started
    return await (inside(served.in_real_time, cells) if inside else served.in_real_time(peer, cells))


if __name__ == "__main__":
    main()
