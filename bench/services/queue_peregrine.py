"""The loop written by hand, in the same bare ASGI function, on peregrine: one worker."""

REQUIREMENTS = [".", "numpy", "orjson", "peregrine-server"]
START = ["-m", "peregrine", "--port", "{port}", "services.queue_asgi:app"]
