"""The peers, one file each: copy one, name it after the library, and it is measured beside the others.

A peer has `REQUIREMENTS`, a literal list of what pip is to install for it, and an async context manager
`open(function, max_batch_size)`. That yields `call`, where `await call(item)` is what `async def function(items)`, called
with a list of at most so many items, gave for this one. If the library also takes lists, `open_map` yields the `call` for a
list; without it a list is measured through `asyncio.gather`. If it runs a plain function in a thread, give it
`blocking(function)`. Configure the library as its own documentation advises.

If the library can be told for how long a batch may wait to fill, `open` takes that as `max_wait` in seconds, 2 ms by default;
if it can be told within what time callers are to be answered, as `objective`. `in_time.py` tells them.

A peer that fails in a case, by an error, a wrong answer or none within two minutes, is reported as failed there. One that is
for some kinds of cases only has them in `KINDS`, a literal list; the kinds are those of `harness/cases.py`.
"""
