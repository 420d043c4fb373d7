"""A service in processes of its own: started and pinned, found again by a mark in their environment, and ended.

The mark finds what a server starts as well, also in other sessions and groups, as Ray's processes are. Linux only.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .environments import BENCH, ENVIRON, Environment, Failed

READY = 90.0  # seconds until a server must have answered once
LEAVE = 5.0  # seconds that a server has to end by itself
MARK = "ASYNCBATCH_BENCH"
TICK = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100


@dataclass(frozen=True)
class Served:
    url: str
    mark: str

    def cpu(self) -> float:
        """Return the seconds of CPU time that all processes of the server have had."""
        return sum(map(_seconds, _marked(self.mark)))

    def processes(self) -> int:
        return len(_marked(self.mark))

    def post(self, body: str) -> Any:
        """Return the JSON that the server answers."""
        request = urllib.request.Request(self.url, body.encode(), {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)


@contextmanager
def serve(environment: Environment, start: tuple[str, ...], cpus: set[int], body: str) -> Iterator[Served]:
    """Start a server and wait until it answers; raises `Failed` if it does not. On leaving, all its processes have ended."""
    mark, port = f"{MARK}={secrets.token_hex(8)}", _free_port()
    served = Served(f"http://127.0.0.1:{port}/predict", mark)
    with tempfile.TemporaryDirectory(prefix="ab", ignore_cleanup_errors=True) as folder:
        log = Path(folder, "log")
        command = [str(environment.python), *(word.replace("{port}", str(port)) for word in start)]
        with log.open("wb") as output:
            process = subprocess.Popen(
                command,
                cwd=BENCH,
                env=_environ(environment, folder) | dict([mark.split("=")]),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # so that Ctrl-C reaches this process alone, which then ends the server
                preexec_fn=lambda: os.sched_setaffinity(0, cpus),
            )
        try:
            _await_answer(served, process, body, log)
            yield served
        finally:
            _end(process, mark)


def _environ(environment: Environment, folder: str) -> dict[str, str]:
    path = f"{environment.python.parent}:{ENVIRON.get('PATH', '')}"
    threads = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    return ENVIRON | threads | {"PATH": path, "PYTHONPATH": str(BENCH), "TMPDIR": folder, "HOME": folder}


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def _await_answer(served: Served, process: subprocess.Popen[bytes], body: str, log: Path) -> None:
    until = time.monotonic() + READY
    while process.poll() is None and time.monotonic() < until:
        with suppress(OSError, ValueError):
            served.post(body)
            return
        time.sleep(0.05)
    what = "did not answer in time" if process.poll() is None else f"ended by itself ({process.returncode})"
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()] or ["without a word"]
    raise Failed(f"{what}: {lines[-1][:200]}")


def _end(process: subprocess.Popen[bytes], mark: str) -> None:
    process.terminate()
    until = time.monotonic() + LEAVE
    while time.monotonic() < until and (process.poll() is None or _marked(mark)):
        time.sleep(0.05)
    while left := _marked(mark):
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)
    process.wait()


def _marked(mark: str) -> list[int]:
    return [int(each.name) for each in Path("/proc").glob("[0-9]*") if mark.encode() in _read(each / "environ")]


def _seconds(pid: int) -> float:
    fields = _read(Path(f"/proc/{pid}/stat")).rpartition(b")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK if fields else 0.0


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError:  # it has just ended, or is another user's
        return b""
