"""Single reads of Redis become one `MGET`: callers get one key each.

Run it: python examples/clients/redis_mget.py redis://127.0.0.1:6379

It needs `pip install redis`, and a Redis, in which it sets keys that last a minute. It prints:

    1,000 reads in 10 commands: 0, 1, ..., and None for a key that there is not
"""

import asyncio
import sys

from redis.asyncio import Redis

from asyncbatch import Batcher, Coalesced


async def main(url):
    async with Redis.from_url(url, decode_responses=True) as redis:
        keys = [f"asyncbatch:example:{n}" for n in range(999)]
        async with redis.pipeline() as pipeline:
            for n, key in enumerate(keys):
                pipeline.set(key, n, ex=60)
            await pipeline.execute()
        # MGET answers in the order of its keys, with None for those it has not: it is a batch function as it stands.
        async with Coalesced(Batcher(redis.mget, max_batch_size=100)) as get:
            values = await asyncio.gather(*map(get, [*keys, "asyncbatch:example:none"]))
            commands = get.batcher.statistics().batches
    print(
        f"1,000 reads in {commands} commands: {values[0]}, {values[1]}, ..., and {values[-1]} for a key that there is not"
    )


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
