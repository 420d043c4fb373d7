"""Adapters: they wrap the user's function, run where it runs, and pickle if it does. What they return is a batch function.

Around an `async def` they are async, around a class they are built once in each worker; they nest. What one learns it
learns where it runs: a `ProcessPoolExecutor`, which gets a fresh copy with each batch, learns nothing. What they put there
only to fill up is counted, in the `Statistics` of the batcher. `Stacked` and `Padded` stand in a room of their own, as only
they need numpy.
"""

from .isolated import Isolated
from .sizes import AllowedSizes

__all__ = ("AllowedSizes", "Isolated")
