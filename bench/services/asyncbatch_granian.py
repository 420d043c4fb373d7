"""asyncbatch in the same bare ASGI function, on granian, whose front is Rust: one worker, as it starts by default."""

REQUIREMENTS = [".", "granian", "httptools", "numpy", "orjson", "uvicorn"]
START = ["-m", "granian", "--interface", "asgi", "--loop", "uvloop", "--port", "{port}", "services.asyncbatch_asgi:app"]
