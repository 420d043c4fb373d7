"""Threads share a batcher, as in Flask or Django with threaded workers: eight of them fill two batches of four.

Run it: python examples/threads.py

It prints:

    [0, 1, 4, 9, 16, 25, 36, 49]
    {'full': 2}
"""

import math
from concurrent.futures import ThreadPoolExecutor

from asyncbatch import sync


def squares(numbers: list[int]) -> list[int]:
    return [number * number for number in numbers]


def main() -> None:
    # A server would write max_wait=0.005; waiting for full batches makes what is printed the same every time.
    with sync.Batcher(squares, max_batch_size=4, max_wait=math.inf) as batcher:
        with ThreadPoolExecutor(8) as threads:
            print(list(threads.map(batcher, range(8))))  # each call blocks its thread, and no other
        print(dict(batcher.statistics().reasons))


main()
