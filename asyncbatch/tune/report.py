"""The report: what was found as sections of sentences, tables and code, and those as text for a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from asyncbatch.terminal import aligned

from .plan import ENOUGH, Plan, Play
from .profile import Profile
from .trial import Row
from .words import about_pay, about_results, about_time, duration, leaves, money, reason, results, share, three

__all__ = ("CHART", "Code", "Part", "Section", "Table", "as_text", "assess", "design", "integrate", "iterate", "monitor")

_WIDTH = 98
CHART = object()  # where the chart stands, in what can show one


@dataclass(frozen=True)
class Table:
    header: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Code:
    text: str


Part: TypeAlias = "str | Table | Code | object"


@dataclass(frozen=True)
class Section:
    title: str
    parts: Sequence[Part]


def as_text(section: Section) -> str:
    """Return a section as text of at most about 100 columns."""
    return "\n\n".join([f"{section.title}\n{'=' * len(section.title)}", *_texts(section.parts)])


def _texts(parts: Sequence[Part]) -> Iterator[str]:
    for part in parts:
        if isinstance(part, Table):
            yield aligned(part.header, part.rows)
        elif isinstance(part, Code):
            yield textwrap.indent(part.text, "    ")
        elif isinstance(part, str):
            yield textwrap.fill(part, _WIDTH, break_on_hyphens=False)


# The sections.


def assess(what: str, profile: Profile) -> Section:
    curve = profile.curve
    header = ["Batch", "Median", "9 in 10 within", "An item", "Items/s", "Speed-up", "Results"]
    rows = [
        [
            f"{size}",
            duration(seconds),
            duration(curve.within(size)),
            duration(seconds / size),
            f"{curve.rate(size):,.0f}",
            f"{curve.speedup(size):.2f}",
            results(profile.likeness.get(size)),
        ]
        for size, seconds in curve.medians.items()
    ]
    said = [about_time(curve), about_pay(curve), about_results(profile.likeness), profile.left_out]
    return Section("Assess", [what, Table(header, rows), *filter(None, said)])


def design(plan: Plan, assumed: Sequence[str] = ()) -> Section:
    slots = f"for {plan.slots} slots" if plan.slots > 1 else "for one slot"
    asked = f"{plan.rate:,.0f} requests a second {slots}, each to be answered within {duration(plan.traffic.objective)}"
    header = [
        "Batches leave",
        "Limit",
        "Mean",
        "p99",
        "In time",
        *(_IN[kind] for kind in plan.traffic.kinds[1:]),
        "Batches",
        "Work",
    ]
    rows = [
        [
            leaves(option.settings) + " *" * (option is plan.chosen),
            str(option.settings.max_batch_size),
            *_latencies(option.plays[plan.kind]),
            *(share(play.goodput) for play in option.plays.values()),
            three(option.plays[plan.kind].batches),
            duration(option.plays[plan.kind].busy),
        ]
        for option in plan.options
    ]
    how = (
        f"{asked}: what asyncbatch does with {_CAME[plan.kind]}, simulated with the times that were measured. Batches and "
    )
    how += "work, the seconds for which the function runs, are for 1,000 answers; * is recommended."
    return Section("Design", [*assumed, how, Table(header, rows), CHART, *_ladder(plan), *_capacity(plan)])


_CAME = {"Poisson": "callers who know nothing of each other (Poisson)", "recorded": "the recorded traffic"}
_IN = {"bursts": "in bursts", "Poisson": "Poisson"}


def _latencies(play: Play) -> tuple[str, str]:
    return ("grows", "grows") if play.grows else (duration(play.mean), duration(play.p99))


def _ladder(plan: Plan) -> Iterator[Part]:
    header = ["Requests/s", *(leaves(settings) for settings in plan.ladder)]
    figures: dict[str, Callable[[Play], str]] = {
        "Latency, p99, under more and more load:": lambda play: _latencies(play)[1],
        "Answered in time:": lambda play: share(play.goodput),
        "Work for 1,000 answers:": lambda play: duration(play.busy),
    }
    longest = max(plan.ladder.values(), key=len)
    for title, figure in figures.items():
        columns = [[figure(play) for play in plays] for plays in plan.ladder.values()]
        yield title
        yield Table(
            header,
            [
                [f"{play.rate:,.0f}", *(column[place] if place < len(column) else "" for column in columns)]
                for place, play in enumerate(longest)
            ],
        )


def _capacity(plan: Plan) -> Iterator[str]:
    slots, most = "one slot" if plan.slots == 1 else f"{plan.slots} slots", f"{ENOUGH * 100:g} % or more"
    if plan.capacity:
        can = f"{slots} can take {plan.capacity:,.0f} requests a second and answer {most} in time."
        yield f"With the settings that are recommended {can}"
    else:
        yield f"No rate is answered in time by {most}: too many batches take longer than the objective allows."
    if plan.slots > 1:
        yield f"Those {slots} are processes, replicas or GPUs that do not slow each other down, which was not measured."


def integrate(plan: Plan, chosen: str, other: str) -> Section:
    parts: list[Part] = [Code(chosen), reason(plan, plan.chosen.settings)]
    quicker = plan.other.plays[plan.kind].mean < plan.chosen.plays[plan.kind].mean
    counts = "latency" if quicker else "the work, which somebody pays for,"
    if plan.other.settings != plan.chosen.settings and plan.other.plays[plan.kind].goodput >= ENOUGH:
        parts += [f"Or, where {counts} is what counts:", Code(other), reason(plan, plan.other.settings)]
    return Section("Integrate", parts)


def monitor(rows: Sequence[Row], price: float | None, expected: Play, found: Play) -> Section:
    cost = "Cost" if price is None else f"Cost at ${price:.2f}/h"
    header = ["Method", "Requests", "Processing time", cost, "Quality"]
    table = [
        [row.method, f"{row.requests:,}", duration(row.seconds), money(row.busy, price), results(row.likeness)]
        for row in rows
    ]
    single, batched = rows
    gain = f"{_change(batched.seconds, single.seconds)} time and {_change(batched.busy, single.busy)} work"
    work = "" if price is not None else " Cost is the time for which the function ran."
    return Section(
        "Monitor",
        [
            f"Your function, for real, with {single.requests:,} requests that were there at once:",
            Table(header, table),
            f"In {batched.batches:,} batches they took {gain}.{work}",
            f"And with {expected.rate:,.0f} requests a second for one slot, beside the same callers simulated:",
            Table(_BESIDE, [_figures("simulated", expected), _figures("measured", found)]),
            _WATCH,
        ],
    )


_WATCH = (
    "In service, `statistics()` has the same: `expired` of `submitted` were too late; `mean_batch_size`, `mean_run_time` "
    "and `busy_seconds` say what batches do and take."
)


_SLOWED = 1.25


def _change(now: float, before: float) -> str:
    part = now / before if before else 1.0
    return f"{abs(1 - part) * 100:.0f} % {'less' if part < 1 else 'more'}"


_BESIDE = ["", "Mean", "p99", "In time", "Batches for 1,000", "Work for 1,000"]


def _figures(what: str, play: Play) -> list[str]:
    return [what, *_latencies(play), share(play.goodput), three(play.batches), duration(play.busy)]


def iterate(profile: Profile, plan: Plan, expected: Play, found: Play) -> Section:
    curve, largest = profile.curve, profile.curve.largest
    steps = []
    times = found.busy / expected.busy
    if times > _SLOWED and found.batches < _SLOWED * expected.batches:
        steps.append(
            f"Work took {times:.1f} times as long beside a busy event loop as alone. See what else runs on the machine; a "
            "sync function can have a process of its own, --executor process."
        )
    if curve.pays and curve.best == largest:
        steps.append(
            f"Batches of {largest} did best and are the largest that were measured: try --max-batch-size {4 * largest}."
        )
    if "recorded" not in plan.traffic.kinds:
        steps.append("Note when real requests come, one time in seconds to a line, and plan for those with --trace.")
    steps.append("Measure again, on the machine that is to serve, when the model, the machine or the items change.")
    return Section("Iterate", steps)
