"""The peers, one file each: copy one, name it after the library, and it is measured beside the others.

A peer has `REQUIREMENTS`, a literal list of what pip is to install for it, and an async context manager
`open(function, max_batch_size)` that yields `call`, where `await call(item)` gives the result of `async def function(items)`
for that item. If the library takes many items at once, `open_map(function, max_batch_size)` yields the `call` for a list;
without it the list is given to `asyncio.gather`. Configure the library as its own documentation advises.
"""
