"""Functions for `python -m asyncbatch tune`: they take their time, so that what comes out is known."""

import asyncio
import time

from asyncbatch import batched


def embed(texts):
    time.sleep(0.002 + 0.0001 * len(texts))
    return [len(text) for text in texts]


async def remote(texts):
    await asyncio.sleep(0.002)
    return [len(text) for text in texts]


class Model:
    def __call__(self, texts):
        return embed(texts)


@batched
def decorated(texts):
    return texts


def picky(texts):
    return [int(text) for text in texts]


no_function = 3
