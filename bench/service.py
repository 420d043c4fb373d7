"""What a service gives over HTTP: asyncbatch in a web application, and the servers that one would choose instead.

    nox -s bench -- service                                      about 20 minutes, once the servers are installed
    nox -s bench -- service --quick                              about 40 seconds, four of them
    python bench/service.py --servers asyncbatch_asgi,mosec      the same without nox: these only

Who puts a model behind HTTP pays for reading the request, for the framework, for the way into a batch and back, and for the
model. Here the model is a network of 128-1024-1024-16 in numpy, about 0.2 ms alone and 0.02 ms in a batch of 64, asked for in
JSON. Each server gives it one replica, at most 64 a batch, and as many processes as its documentation has at the least; where a
server waits for company, it waits 2 ms. What each was told stands in its file in `services/`; to add one, copy a file. Before it
is measured, a server must have given the right numbers.

The load is wrk's, a package of Debian, so this runs on Linux alone. First a closed loop: 1, 64 and 256 connections, each asking
again as soon as it is answered. Then an open one at rising rates, the same for all: wrk asks at random times whatever the server
does, over at most 512 connections (`harness/load.lua`); what is due while all of them wait is counted as missed, and once a
server answers less than nine in ten of what is asked, it is not asked for more. p50 and p99 are what wrk prints, CPU is that of
all processes of the server, and errors are other answers than 200 and none within 5 s.

wrk has the first core to itself, all processes of a server share the others (the JSON says which, and how many processes ran
as it began: the figures are those of a quiet machine only if that `load` is far below its `cpus`). In each round each server takes
a turn with all of it: it is started, warmed up, measured and ended, so that nothing of one runs beside another; the next
round begins with another one. Given are medians of the rounds.
"""

from __future__ import annotations

import argparse
import os
import platform
import signal
import sys
import tempfile
from collections import defaultdict
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

from harness import environments, load, report, services, throughput
from harness.environments import BENCH, Environment, Failed
from harness.load import Case
from harness.plan import turns
from harness.processes import serve
from harness.services import Service

Values: TypeAlias = dict[str, float]


@dataclass(frozen=True)
class Plan:
    rounds: int
    seconds: int  # a case; wrk takes whole ones
    warm: int  # seconds before the first
    connections: tuple[int, ...] = (1, 64, 256)
    rates: tuple[int, ...] = (500, 2000, 4000, 8000, 12_000)  # requests a second

    def cases(self) -> list[Case]:
        return [Case("closed", size) for size in self.connections] + [Case("open", rate) for rate in self.rates]


FULL = Plan(rounds=3, seconds=2, warm=2)
QUICK = Plan(rounds=1, seconds=1, warm=1, rates=(2000,))
QUICK_SERVERS = ("asyncbatch_asgi", "asyncbatch_fastapi", "batched_fastapi", "mosec")


@dataclass
class Found:
    cases: dict[Case, dict[str, list[Values]]] = field(default_factory=lambda: defaultdict(lambda: defaultdict(list)))
    failed: dict[str, str] = field(default_factory=dict)


def main() -> None:
    options = arguments()
    load.find()
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, lambda number, _: sys.exit(128 + number))  # by way of each `finally`: they end the server
    plan, started = options.plan, datetime.now(UTC)
    requirements = {service.name: service.requirements for service in options.servers}
    made, missing = environments.install(requirements, newest=not options.quick)
    present = {service: made[service.name] for service in options.servers if service.name in made}
    pins = load.pins()
    found = measure(plan, present, services.exchange(present.values()), pins)
    result = {
        "date": f"{started:%Y-%m-%d}",
        "settings": {"quick": options.quick, "max_batch_size": 64, "open_connections": load.CONNECTIONS, **asdict(plan)},
        "machine": {
            **report.machine(),
            "load": options.load,
            "pinned_to": {who: sorted(cpus) for who, cpus in pins.items()},
        },
        "versions": {"python": platform.python_version(), "wrk": load.version()}
        | {service.name: environment.versions for service, environment in present.items()},
        "servers": [service.name for service in options.servers],
        "missing": missing | found.failed,
        "cases": [throughput.summary(case, of_servers) for case, of_servers in found.cases.items()],
    }
    report.write(result, options.json, throughput.draw)
    print(throughput.tables(result))


def arguments() -> argparse.Namespace:
    known = services.known()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help=f"one short round, of {', '.join(QUICK_SERVERS)}")
    parser.add_argument("--servers", type=lambda names: names.split(","), help=f"of {','.join(known)}")
    parser.add_argument("--json", type=Path, default=BENCH / "results" / "service.json", metavar="FILE")
    options = parser.parse_args()
    options.json = report.place(options.json, quick=options.quick)
    names = options.servers or (QUICK_SERVERS if options.quick else list(known))
    if unknown := set(names) - set(known):
        parser.error(f"no such file in bench/services: {', '.join(sorted(unknown))}.py")
    options.servers = [known[name] for name in names]
    options.plan, options.load = QUICK if options.quick else FULL, os.getloadavg()[0]
    return options


def measure(plan: Plan, present: dict[Service, Environment], exchange: dict[str, Any], pins: dict[str, set[int]]) -> Found:
    found = Found()
    for number in range(plan.rounds):
        for service, environment in turns(present, number):
            report.say(f"round {number + 1} of {plan.rounds}: {service.name}")
            try:
                turn(plan, service, environment, exchange, pins, number, found)
            except Exception as error:  # in whatever way a server fails, the others are measured even so
                reason = str(error) if isinstance(error, Failed) else f"{type(error).__name__}: {error}"
                found.failed[service.name] = reason
                report.say(f"{service.name} failed: {reason}")
    return found


def turn(
    plan: Plan,
    service: Service,
    environment: Environment,
    exchange: dict[str, Any],
    pins: dict[str, set[int]],
    number: int,
    found: Found,
) -> None:
    requests = [service.body(row) for row in exchange["rows"]]
    with tempfile.TemporaryDirectory() as folder, serve(environment, service, pins["server"], requests[0]) as served:
        services.check(served.post, service, exchange)
        bodies = Path(folder, "bodies")
        bodies.write_text("".join(f"{request}\n" for request in requests))
        run = partial(load.load, served, bodies=bodies, cpus=pins["wrk"], seed=number)
        run(Case("closed", 64), seconds=plan.warm)
        for case, values in load.rising(plan.cases(), partial(run, seconds=plan.seconds)):
            found.cases[case][service.name].append(values)


if __name__ == "__main__":
    main()
