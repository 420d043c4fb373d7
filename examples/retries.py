"""Run a failed batch again: decorate the function, here with stamina, and tenacity does as well. Callers notice nothing.

Run it: python examples/retries.py

It needs `pip install stamina`. It prints:

    try 1 with ['one', 'text', 'each']
    try 2 with ['one', 'text', 'each']
    [3, 4, 4]
    try 3 with ['spam']
    ValueError('no spam'), which is not worth another try
"""

import asyncio
import logging

import stamina

from asyncbatch import batched

logging.getLogger("stamina").setLevel(logging.ERROR)  # it warns of each new try
tries = 0


@batched(max_batch_size=8)
@stamina.retry(on=ConnectionError, attempts=3, wait_initial=0.01)
async def embed(texts: list[str]) -> list[int]:
    global tries
    tries += 1
    print("try", tries, "with", texts)
    if tries == 1:
        raise ConnectionError("the model is not there yet")
    if "spam" in texts:
        raise ValueError("no spam")
    return [len(text) for text in texts]


async def main() -> None:
    print(await asyncio.gather(*map(embed, ["one", "text", "each"])))
    try:
        await embed("spam")
    except ValueError as error:
        print(f"{error!r}, which is not worth another try")


asyncio.run(main())
