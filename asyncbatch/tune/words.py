"""Words: figures as people read them, and what they mean in plain sentences. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping

from asyncbatch.objectives import CostObjective

from .curve import Curve
from .plan import ENOUGH, Plan, Settings
from .profile import Likeness
from .quality import NEAR, in_words

_OFF = 0.05  # a line that is nearer is right everywhere
_QUIET = 2.0  # what scatters more is not only the function

__all__ = ("about_pay", "about_results", "about_time", "duration", "leaves", "money", "reason", "results", "share", "three")


def duration(seconds: float) -> str:
    """Return `seconds` with three digits that count, in the unit that suits."""
    if math.isnan(seconds):
        return "-"
    for unit, least in (("s", 1.0), ("ms", 0.001)):
        if seconds >= 0.9995 * least:
            return f"{three(seconds / least)} {unit}"
    return f"{three(seconds * 1e6)} us"


def three(number: float) -> str:
    """Return a number with three digits that count, or all of those before the point."""
    if not math.isfinite(number) or number == 0:
        return "0" if number == 0 else "-"
    digits = 2 - math.floor(math.log10(abs(float(f"{number:.2e}"))))
    return f"{number:,.{max(0, digits)}f}"


def share(part: float) -> str:
    """Return a share of 1 in per cent; it is not rounded up, as 100 means all."""
    percent = math.floor(part * 1000 + 1e-9) / 10
    return f"{percent:.0f} %" if percent in (0, 100) else f"{percent:.1f} %"


def money(busy: float, price: float | None) -> str:
    """Return what `busy` seconds cost at `price` an hour, or the seconds themselves if nobody said."""
    return duration(busy) if price is None else f"${three(busy * price / 3600)}"


def leaves(settings: Settings) -> str:
    """Return when batches leave."""
    return f"{duration(settings.max_wait)} wait" if settings.max_wait else settings.rule


# What was measured.


def about_time(curve: Curve) -> str:
    line = curve.line
    off = f"at most {line.off * 100:.0f} % off that" + (f", at {line.size}" if line.off >= _OFF else "")
    said = [f"A batch takes about {duration(line.fixed)} and {duration(line.each)} an item; the medians are {off}."]
    said += [
        f"From {step.before} to {step.after} items it jumps by {duration(step.seconds)} more than that says."
        for step in curve.steps[:2]
    ]
    loudest = max(curve.medians, key=curve.scatter)
    if curve.scatter(loudest) > _QUIET:
        said.append(
            f"The times scatter: of the batches of {loudest} one in ten takes {curve.scatter(loudest):.1f} times the "
            "median or more. If other programs ran, measure again without them."
        )
    return " ".join(said)


def about_pay(curve: Curve) -> str:
    best = curve.best
    times = f"{curve.speedup(best):.3g} times as many items a second as one by one"
    if not curve.pays:
        said = [f"Batching does not pay: even at its best, in batches of {best}, it does only {times}."]
    else:
        said = [f"Batching pays from {curve.pays_from} items on: in batches of {best} it does {times}."]
        if curve.enough < best:
            said.append(f"More than {curve.enough} add little; those do {curve.speedup(curve.enough):.3g} times as many.")
    if curve.speedup(2) < 1:
        said.append(
            f"Two items in one batch take {duration(curve(2))}, longer than one after the other, {duration(2 * curve(1))}: "
            "one item goes a quicker way alone, as a vector does through a matrix."
        )
    return " ".join(said)


def results(likeness: Likeness | None) -> str:
    """Return in a cell how near the results of one size are to those of the same items alone."""
    if likeness is None or not likeness.compared:
        return "-"
    if likeness.worst > NEAR:
        return f"{likeness.differing} of {likeness.compared} differ"
    return in_words(likeness.worst)


def about_results(likeness: Mapping[int, Likeness]) -> str:
    again = likeness.get(1, Likeness()).worst
    worst = max((each.worst for each in likeness.values()), default=0.0)
    if again > NEAR:
        return (
            "The function does not answer the same item alike twice, alone or not: what batches do to quality is not told."
        )
    if worst > NEAR:
        return "Results in batches differ from those of the same items alone: see to that before you batch."
    if worst > 0:
        return f"Results are those of the same items alone, within {worst:.0e}: sums of floats depend on their order."
    return "Results are identical to those of the same items alone."


# What follows.


def reason(plan: Plan, settings: Settings) -> str:
    """Return in a sentence why these settings."""
    option = next(option for option in plan.options if option.settings == settings)
    play, objective = option.plays[plan.kind], duration(plan.traffic.objective)
    if play.goodput < ENOUGH:
        return f"Nothing answers {ENOUGH * 100:g} % within {objective}; this comes nearest, with {share(play.goodput)}."
    if isinstance(settings.policy, CostObjective):
        what = f"Batches are held for as long as {objective} allow, which takes the least work"
    elif settings.policy is not None:
        what = f"Batches leave at once, and who could not be answered within {objective} is told so at once"
    elif settings.max_wait:
        what = f"A wait of {duration(settings.max_wait)} lets batches fill, the quickest of what stands bursts best"
    else:
        what = "Batches leave at once, the quickest of what stands bursts best"
    figures = f"mean {duration(play.mean)}, {duration(play.busy)} of work for 1,000 requests"
    return f"{what}: {share(play.goodput)} in time, {figures}."
