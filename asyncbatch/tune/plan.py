"""Design: the real batcher on the virtual clock, with the measured batch time, for every setting that makes sense."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from asyncbatch.objectives import CostObjective, LatencyObjective
from asyncbatch.simulate import Outcome, bursts, poisson, simulate

from .curve import Curve

__all__ = ("ENOUGH", "Option", "Plan", "Play", "Settings", "Traffic", "choose", "design", "highest_rate", "seen")

ENOUGH = 0.99  # of all callers answered in time is what capacity means
_LOADS = (0.1, 0.25, 0.5, 0.7, 0.85, 1.0, 1.2, 1.5, 2.0)  # shares of what full batches can do
_FEW = 4
_MOST_SLOTS = 64
_WORTH_A_SLOT = 0.01  # of the callers: with fewer answered in time than that, another slot is of no use
_SIMULATED = 2000, 12000  # callers, at least and at most
_OBJECTIVES = 30  # so many are simulated one after the other, where that is not too many callers
_FEWEST = 400  # of fewer nobody can say who are one in a hundred
_BESIDE = 0.1  # of the rate that was asked for: one so near it would tell the same
_HALVINGS = 5
_HOPELESS = 0.02  # so few in time, and more load makes it no better
_ALIKE = 1.03  # figures nearer than that are the same, with so many callers


@dataclass(frozen=True)
class Settings:
    """One way to run the function: the limit, and what decides when a batch leaves."""

    rule: str
    max_batch_size: int
    max_wait: float = 0.0
    policy: LatencyObjective | None = None

    @property
    def keywords(self) -> dict[str, Any]:
        """What to give a `Batcher`, without what is its default anyway."""
        given = {"max_batch_size": self.max_batch_size, "max_wait": self.max_wait, "policy": self.policy}
        return {name: value for name, value in given.items() if value or name == "max_batch_size"}


@dataclass(frozen=True)
class Play:
    """What came of one simulation. Latencies are seconds; `batches` and `busy`, seconds of work, are for 1000 answers.

    It `grows` when callers came faster than they were served: latencies then depend on how long that went on.
    """

    rate: float
    mean: float
    p99: float
    goodput: float
    batches: float
    busy: float
    grows: bool = False


@dataclass(frozen=True)
class Option:
    """Settings, and what came of them in each kind of traffic."""

    settings: Settings
    plays: dict[str, Play]

    @property
    def worst(self) -> float:
        return min(play.goodput for play in self.plays.values())


@dataclass(frozen=True)
class Traffic:
    """When callers come: of their own accord, in bursts, or as they once did, which is `recorded`, in seconds from 0.

    There are fewer of them if less than all is `thorough`.
    """

    objective: float
    recorded: Sequence[float] = ()
    thorough: float = 1.0

    @property
    def kinds(self) -> list[str]:
        """Their names; the first is what the settings are chosen for."""
        return ["recorded", "Poisson", "bursts"] if self.recorded else ["Poisson", "bursts"]

    @property
    def recorded_rate(self) -> float:
        return len(self.recorded) / self.recorded[-1]

    def times(self, kind: str, rate: float) -> list[float]:
        """Return times of arrival, enough of them for several bursts and for a queue to grow beyond the objective.

        Those that are recorded are sped up or slowed down.
        """
        least, most = (max(_FEWEST, round(count * self.thorough)) for count in _SIMULATED)
        count = round(min(max(least, rate * _OBJECTIVES * self.objective), most))
        if kind == "recorded":
            return [each * self.recorded_rate / rate for each in self.recorded[:most]]
        # The length of a burst is a few objectives: shorter ones are no bursts, longer ones another rate.
        times = list(poisson(rate, count) if kind == "Poisson" else bursts(rate, count, period=8 * self.objective))
        return [each * count / rate / times[-1] for each in times]  # a few bursts alone have any rate


@dataclass(frozen=True)
class Plan:
    """What to use, and why: every simulation that led there."""

    traffic: Traffic
    rate: float
    slots: int
    options: list[Option]
    chosen: Option
    other: Option  #: the same if the work counts and not the latency, or the other way round
    ladder: dict[Settings, list[Play]]  #: each rule, with the limit that was chosen, under more and more load
    capacity: float  #: the highest rate with `ENOUGH` in time for the chosen settings, all slots together

    @property
    def kind(self) -> str:
        return self.traffic.kinds[0]


@dataclass
class _Design:
    curve: Curve
    traffic: Traffic
    progress: Callable[[], None]
    slots: int = 1
    played: dict[tuple[Settings, str, float, int], Play] = field(default_factory=dict)

    def play(self, settings: Settings, kind: str, rate: float) -> Play:
        key = settings, kind, rate, self.slots
        if key not in self.played:
            times = self.traffic.times(kind, rate)
            outcome = simulate(times, self.curve.scattered(), slots=self.slots, **settings.keywords)
            self.played[key] = seen(outcome, rate, times[-1] - times[0], self.traffic.objective)
            self.progress()
        return self.played[key]

    @property
    def limit(self) -> float:
        """What full batches can do."""
        return self.slots * max(map(self.curve.rate, self.curve.sizes))

    def settle_slots(self, rate: float) -> None:
        """Take as many slots as it needs to answer in time, or as many as help."""
        self.slots, before = min(math.ceil(rate / self.limit), _MOST_SLOTS), -math.inf
        while (in_time := self._at_best(rate)) >= before + _WORTH_A_SLOT:
            if in_time >= ENOUGH or self.slots == _MOST_SLOTS:
                return
            self.slots, before = self.slots + 1, in_time
        self.slots -= 1

    def _at_best(self, rate: float) -> float:
        largest, objective = self.curve.sizes[-1], LatencyObjective(self.traffic.objective)
        widest = Settings("at once", largest), Settings("latency objective", largest, policy=objective)
        return max(self.play(settings, self.traffic.kinds[0], rate).goodput for settings in widest)

    def candidates(self, rate: float) -> list[Settings]:
        """Return one by one, a fixed wait, and each rule with each size that is fast enough, at most the largest few."""
        objective, largest = self.traffic.objective, self.curve.sizes[-1]
        sizes = [size for size in self.curve.sizes if self.slots * self.curve.rate(size) >= rate][-_FEW:] or [largest]
        found = [Settings("one by one", 1)]
        if largest > 1:
            found.append(Settings("fixed wait", largest, max_wait=objective / 5))
        for size in sizes:
            if size > 1:
                found.append(Settings("at once", size))
                found.append(Settings("cost objective", size, policy=CostObjective(objective)))
            if size > 1 or largest == 1:
                found.append(Settings("latency objective", size, policy=LatencyObjective(objective)))
        return found

    def under_load(self, settings: Settings, rates: Sequence[float]) -> list[Play]:
        """Return what comes of more and more load, up to where it is hopeless."""
        plays: list[Play] = []
        for rate in rates:
            plays.append(self.play(settings, self.traffic.kinds[0], rate))
            if plays[-1].goodput < _HOPELESS:
                break
        return plays


def design(
    curve: Curve, traffic: Traffic, rate: float, *, priced: bool = False, progress: Callable[[], None] = lambda: None
) -> Plan:
    """Return what to use for `rate` callers a second: the lowest latency of what is in time, or if `priced` the least work.

    `progress` is called after each simulation.
    """
    designing = _Design(curve, traffic, progress)
    designing.settle_slots(rate)
    play, kinds = designing.play, traffic.kinds
    options = [
        Option(settings, {kind: play(settings, kind, rate) for kind in kinds}) for settings in designing.candidates(rate)
    ]
    speed = {option.settings: curve.rate(option.settings.max_batch_size) for option in options}
    quickest, thriftiest = (choose(options, kinds[0], by, speed) for by in ("mean", "busy"))
    chosen, other = (thriftiest, quickest) if priced else (quickest, thriftiest)
    rates = sorted({rate, *(each for load in _LOADS if abs((each := load * designing.limit) / rate - 1) > _BESIDE)})
    ladder = {settings: designing.under_load(settings, rates) for settings in _rules(options, chosen)}
    stable = [each for each in rates if each < designing.limit] + [designing.limit]  # beyond it a queue grows, if slowly
    capacity = highest_rate(lambda each: play(chosen.settings, kinds[0], each).goodput, stable)
    return Plan(traffic, rate, designing.slots, options, chosen, other, ladder, capacity)


def seen(outcome: Outcome, rate: float, span: float, objective: float) -> Play:
    """Return the figures of an `outcome` of callers who came for `span` seconds."""
    answered = len(outcome.latencies) or math.nan
    return Play(
        rate,
        outcome.mean,
        outcome.quantile(0.99),
        outcome.goodput(objective),
        1000 * len(outcome.sizes) / answered,
        1000 * outcome.busy / answered,
        outcome.duration > 1.1 * span + 4 * objective,
    )


def _rules(options: Sequence[Option], chosen: Option) -> list[Settings]:
    """Return the settings of each rule with the limit that was chosen, or the only one that the rule was tried with."""
    limit = chosen.settings.max_batch_size
    by_rule = {each.settings.rule: each.settings for each in options}
    as_large = {each.settings.rule: each.settings for each in options if each.settings.max_batch_size == limit}
    return list((by_rule | as_large).values())


def choose(options: Sequence[Option], kind: str, by: str, speed: dict[Settings, float]) -> Option:
    """Return the option with the least `by`, "mean" or "busy", in traffic of that `kind`.

    Only those count that answer enough callers in time, or as many as any, and that stand bursts as well as any. Of those
    that are alike the one counts that can do more a second, that has an objective, and that has the smaller batches.
    """
    most = max(option.plays[kind].goodput for option in options)
    able = [option for option in options if option.plays[kind].goodput >= min(ENOUGH, most - 0.005)]
    steadiest = max(option.worst for option in able)
    able = [option for option in able if option.worst >= steadiest - 0.01]
    least = min(getattr(option.plays[kind], by) for option in able)
    alike = [option for option in able if getattr(option.plays[kind], by) <= _ALIKE * least]
    fastest = max(speed[option.settings] for option in alike)

    def merits(option: Option) -> tuple[bool, bool, int]:
        settings = option.settings
        return speed[settings] >= 0.95 * fastest, settings.policy is not None, -settings.max_batch_size

    return max(alike, key=merits)


def highest_rate(goodput: Callable[[float], float], rates: Sequence[float]) -> float:
    """Return the highest of the rising `rates` with `ENOUGH` goodput, or one between that and the next; 0 if none has."""
    low, high = 0.0, math.inf
    for rate in rates:
        if goodput(rate) < ENOUGH:
            high = rate
            break
        low = rate
    for _ in range(_HALVINGS if high < math.inf else 0):
        middle = (low + high) / 2
        low, high = (middle, high) if goodput(middle) >= ENOUGH else (low, middle)
    return low
