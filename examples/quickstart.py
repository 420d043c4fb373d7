"""The shortest whole program: a batched function, called for one item, by many callers, and for a list.

Run it: python examples/quickstart.py

It prints:

    a batch: ['one']
    3
    a batch: ['many', 'callers']
    a batch: ['each', 'await']
    [4, 7, 4, 5]
    a batch: ['and', 'lists']
    a batch: ['too']
    [3, 5, 3]
    batches left because they were {'idle': 2, 'full': 3}
"""

import asyncio

from asyncbatch import batched


@batched(max_batch_size=2)
def lengths(words: list[str]) -> list[int]:
    print("a batch:", words)
    return [len(word) for word in words]


async def main() -> None:
    print(await lengths("one"))

    async with asyncio.TaskGroup() as tg:
        calls = [tg.create_task(lengths(word)) for word in ["many", "callers", "each", "await"]]
    print([call.result() for call in calls])

    print(await lengths.map(["and", "lists", "too"]))
    print("batches left because they were", dict(lengths.statistics().reasons))


asyncio.run(main())
