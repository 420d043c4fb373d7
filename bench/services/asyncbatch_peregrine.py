"""asyncbatch in the bare ASGI function that runs the model on the loop, on peregrine, whose front is Swift: one worker."""

REQUIREMENTS = [".", "numpy", "orjson", "peregrine-server"]
START = ["-m", "peregrine", "--port", "{port}", "services.asyncbatch_inline:app"]
