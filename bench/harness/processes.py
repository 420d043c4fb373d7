"""A service in processes of its own: started and pinned, measured as a whole, and ended with all that it started. Linux only.

This process adopts the orphans among its descendants, so they are all found, in whatever session or group they are.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any

from .environments import BENCH, ENVIRON, Environment, Failed
from .services import Service

READY = 90.0  # seconds until a server must have answered once
LEAVE = 5.0  # seconds that a server has to end by itself
ADOPT = 36  # PR_SET_CHILD_SUBREAPER
ONE_THREAD = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")


@dataclass(frozen=True)
class Served:
    """A server that has answered."""

    url: str
    process: subprocess.Popen[bytes]
    log: Path

    def post(self, body: str) -> Any:
        """Return the JSON that it answers."""
        request = urllib.request.Request(self.url, body.encode(), {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)

    def cpu(self) -> float:
        """Return the seconds of CPU time that its processes have had; raises `Failed` if it has ended."""
        if self.process.poll() is not None:
            raise Failed(f"ended by itself ({self.process.returncode}): {self.last_word()}")
        ticks = [_stat(pid)[11:13] for pid in _descendants()]
        return sum(int(tick) for each in ticks for tick in each) / os.sysconf("SC_CLK_TCK")

    def last_word(self) -> str:
        lines = [line for line in self.log.read_text(errors="replace").splitlines() if line.strip()]
        return lines[-1].strip()[:200] if lines else "without a word"


@contextmanager
def serve(environment: Environment, service: Service, cpus: set[int], body: str) -> Iterator[Served]:
    """Start a server and wait until it answers; raises `Failed` if it does not. On leaving, all its processes have ended."""
    ctypes.CDLL(None).prctl(ADOPT, 1)
    port = _free_port()
    pinned = ("taskset", "-c", ",".join(map(str, sorted(cpus))))
    with tempfile.TemporaryDirectory(prefix="ab", ignore_cleanup_errors=True) as folder:
        log = Path(folder, "log")
        with log.open("wb") as output:
            process = subprocess.Popen(
                [*pinned, environment.python, *(word.replace("{port}", str(port)) for word in service.start)],
                cwd=BENCH,
                env=_environ(environment, folder) | service.environ,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # so that Ctrl-C reaches this process alone, which then ends the server
            )
        served = Served(f"http://127.0.0.1:{port}/predict", process, log)
        try:
            _await_answer(served, body)
            yield served
        finally:
            _end(process)


def _environ(environment: Environment, folder: str) -> dict[str, str]:
    path = f"{environment.python.parent}:{ENVIRON.get('PATH', '')}"
    return ENVIRON | ONE_THREAD | {"PATH": path, "PYTHONPATH": str(BENCH), "TMPDIR": folder, "HOME": folder}


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def _await_answer(served: Served, body: str) -> None:
    until = time.monotonic() + READY
    while time.monotonic() < until:
        served.cpu()  # raises when it has ended
        with suppress(OSError, ValueError, HTTPException):
            served.post(body)
            return
        time.sleep(0.05)
    raise Failed(f"did not answer in {READY:.0f} s: {served.last_word()}")


def _end(process: subprocess.Popen[bytes]) -> None:
    try:
        process.terminate()
        until = time.monotonic() + LEAVE
        while time.monotonic() < until and _descendants():
            process.poll()
            time.sleep(0.05)
    finally:  # also when Ctrl-C comes once more
        while left := _descendants():
            for pid in left:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            process.poll()
            time.sleep(0.05)
        process.wait()
        with suppress(ChildProcessError):  # none is left
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass


def _descendants() -> list[int]:
    """Return the processes that this one has started, directly or not, and that have not ended."""
    parents = {int(each.name): _stat(int(each.name)) for each in Path("/proc").glob("[0-9]*")}
    children: dict[int, list[int]] = {}
    for pid, stat in parents.items():
        if stat[0] != "Z":
            children.setdefault(int(stat[1]), []).append(pid)
    found = children.get(os.getpid(), [])
    for pid in found:
        found.extend(children.get(pid, []))
    return found


def _stat(pid: int) -> list[str]:
    """Return the fields after the name: state, parent and so on; those of a zombie if there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ["Z", *("0" * 20)]
