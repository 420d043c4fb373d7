"""What carries batches to where a function runs. Each file has `open(function, workers)`, an async context manager.

It gives what takes a list of items and returns their results. `SCALES` marks those that are measured with two workers too.
"""
