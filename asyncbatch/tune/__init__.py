"""python -m asyncbatch tune: measure a function, simulate the batcher with what was measured, and say which settings suit.

    assess: profile, curve -> design: plan -> integrate: code -> monitor: trial -> iterate

Each step is a module, and each a section of the report.
"""

from __future__ import annotations

import asyncio
import math
import sys
from argparse import Namespace
from collections.abc import Callable, Sequence
from functools import partial
from itertools import cycle, islice
from typing import Any

from asyncbatch.batcher import Batcher
from asyncbatch.simulate import simulate
from asyncbatch.terminal import Bar

from . import inputs, report
from .chart import MISSING, draw, drawn, has_matplotlib
from .code import as_code, where
from .curve import Curve
from .inputs import BadInput
from .options import THOROUGH, parser
from .page import as_page
from .plan import Plan, Traffic, design, seen
from .profile import Profile, measure
from .trial import compare, live
from .words import duration

__all__ = ("main", "round_up")

_MANY, _FEW = 2000, 8  # requests one by one, at most and at least


def main(arguments: Sequence[str] | None = None) -> int:
    """Tune as `arguments` say, print the report, and return the exit status."""
    command = parser()
    options = command.parse_args(arguments)
    try:
        function, items = inputs.function(options.function), inputs.items(options.items)
        recorded = inputs.arrivals(options.trace) if options.trace else []
    except BadInput as error:
        command.error(str(error))
    for file in filter(None, (options.html, options.png)):
        if not file.parent.is_dir():
            command.error(f"there is no folder {str(file.parent)!r} to write {file.name} to")
    try:
        _Tuning(function, items, recorded, options).run()
    except BadInput as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201
        return 1
    return 0


class _Tuning:
    """The steps, one after the other; each shows its section as soon as it has it."""

    def __init__(
        self, function: Callable[..., Any], items: Sequence[Any], recorded: Sequence[float], options: Namespace
    ) -> None:
        self.function, self.items, self.recorded, self.options = function, items, recorded, options
        self.sections: list[report.Section] = []

    def run(self) -> None:
        options = self.options
        charts = has_matplotlib()
        if not charts and (options.html or options.png):
            print(MISSING, file=sys.stderr)  # noqa: T201
        with asyncio.Runner() as runner:  # one loop for all that runs for real, as the function may hold on to it
            profile = self._assess(runner)
            plan = self._design(profile.curve)
            self._integrate(plan)
            self._monitor(runner, profile, plan)
        if options.png and charts:
            draw(plan, options.png)
        if options.html:
            title = f"asyncbatch tune {options.function}"
            options.html.write_text(as_page(title, self.sections, drawn(plan) if charts else ""), encoding="utf-8")

    def _show(self, section: report.Section) -> None:
        print(report.as_text(section), end="\n\n", flush=True)  # noqa: T201
        self.sections.append(section)

    def _batcher(self, **keywords: Any) -> Batcher[Any, Any]:
        return Batcher(self.function, executor=self.options.executor, **keywords)

    def _assess(self, runner: asyncio.Runner) -> Profile:
        options = self.options
        with Bar("Measuring", math.ceil(options.seconds), " s") as bar:
            profile = runner.run(
                measure(
                    self.function,
                    self.items,
                    most=options.max_batch_size,
                    seconds=options.seconds,
                    executor=options.executor,
                    progress=lambda elapsed: bar.reach(int(elapsed)),
                )
            )
        runs = min(map(len, profile.curve.samples.values()))
        what = f"{options.function} with the {len(self.items):,} items of {options.items.name}, "
        how = f"executor {where(self.function, options.executor)!r}, each size at least {runs} times:"
        self._show(report.assess(what + how, profile))
        return profile

    def _design(self, curve: Curve) -> Plan:
        assumed, objective, rate = self._assumptions(curve)
        if curve(1) > objective:
            raise BadInput(
                f"one item alone takes {duration(curve(1))}, so nobody can be answered within {duration(objective)}; "
                f"write for example --objective {round_up(3 * curve(1)) * 1000:g}ms"
            )
        with Bar("Simulating") as bar:
            traffic = Traffic(objective, self.recorded, thorough=min(1.0, self.options.seconds / THOROUGH))
            priced = self.options.price is not None
            plan = design(curve, traffic, rate, priced=priced, progress=bar.advance)
        self._show(report.design(plan, assumed))
        return plan

    def _assumptions(self, curve: Curve) -> tuple[list[str], float, float]:
        """Return the objective and the rate, and in sentences what of them nobody asked for."""
        assumed = []
        if (objective := self.options.objective) is None:
            objective = round_up(3 * curve(curve.enough))
            assumed.append(
                f"No --objective was given: {duration(objective)} is about three times a batch of {curve.enough}."
            )
        if (rate := self.options.rate) is None and self.recorded:
            rate = Traffic(objective, self.recorded).recorded_rate
        elif rate is None:
            rate = max(map(curve.rate, curve.sizes)) / 2
            assumed.append(f"No --rate was given: {rate:,.0f} requests a second is half of what one slot can do.")
        return assumed, objective, rate

    def _integrate(self, plan: Plan) -> None:
        write = partial(as_code, self.options.function, self.function, executor=self.options.executor, slots=plan.slots)
        self._show(report.integrate(plan, write(plan.chosen.settings), write(plan.other.settings)))

    def _monitor(self, runner: asyncio.Runner, profile: Profile, plan: Plan) -> None:
        curve, keywords, seconds = profile.curve, plan.chosen.settings.keywords, self.options.seconds / 4
        many = list(islice(cycle(self.items), min(_MANY, max(_FEW, int(seconds / curve(1))))))
        rate = plan.rate / plan.slots
        times = [at for at in plan.traffic.times(plan.kind, rate) if at <= seconds] or [0.0]
        outcome = simulate(times, curve.scattered(), **keywords)
        with Bar("Checking"):
            rows = runner.run(compare(self._batcher, many, keywords))
            answered = runner.run(live(self._batcher, self.items, times, keywords))
        expected = seen(outcome, rate, times[-1], plan.traffic.objective)
        found = seen(answered, rate, math.inf, plan.traffic.objective)  # what callers saw is told as it is
        self._show(report.monitor(rows, self.options.price, expected, found))
        self._show(report.iterate(profile, plan, expected, found))


def round_up(seconds: float) -> float:
    """Return the next time above that is 1, 2 or 5 of some unit."""
    unit = 10.0 ** math.floor(math.log10(seconds))
    return next(each * unit for each in (1, 2, 5, 10) if each * unit >= seconds * (1 - 1e-9))
