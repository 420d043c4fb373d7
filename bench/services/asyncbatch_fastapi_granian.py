"""asyncbatch in FastAPI, on granian: one worker, as it starts by default."""

REQUIREMENTS = [".", "fastapi", "granian", "httptools", "numpy", "uvicorn"]
START = ["-m", "granian", "--interface", "asgi", "--loop", "uvloop", "--port", "{port}", "services.asyncbatch_fastapi:app"]
