"""What can be computed exactly about batching, to compare the batcher with. Times are seconds, rates a second."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Law:
    """What callers see of a work-conserving batch server."""

    mean: float
    mean_batch_size: float
    quantiles: dict[float, float]


def work_conserving(rate, seconds, most, quantiles=()):
    """Return the exact law for Poisson arrivals and one slot that takes min(waiting, most) at once, as soon as it is free.

    The Markov chain of how many are left at the end of each batch, and renewal reward over its cycles: the formulas are
    those for the bulk service queue M/D(b)^[1,B]/1 (Neuts, 1967).
    """
    taus = np.array([0.0, *[seconds(size) for size in range(1, most + 1)]])
    load = rate * taus[most] / most
    assert load < 1, "no queue is stable at that rate"
    states = most + math.ceil(most * (4 + 14 * load / (1 - load))) + 40
    sizes = np.minimum(np.maximum(np.arange(states), 1), most)
    left = np.maximum(np.arange(states) - sizes, 0)
    law = _stationary(rate * taus[sizes], left)
    tau = taus[sizes]
    cycle = law @ tau + law[0] / rate
    waits = law @ (left * tau + rate * tau**2 / 2 + sizes * tau)
    tails = _quantiles(rate, taus, most, law, sizes, left, quantiles) if quantiles else {}
    return Law(waits / (rate * cycle), rate * cycle, tails)


def _stationary(arrivals, left):
    states = len(left)
    chain = np.zeros((states, states))
    for state in range(states):
        room = states - left[state]
        chain[state, left[state] :] = poisson(arrivals[state], room)
        chain[state, -1] += 1 - chain[state].sum()
    equations = (chain - np.eye(states)).T
    equations[-1] = 1
    right = np.zeros(states)
    right[-1] = 1
    return np.clip(np.linalg.solve(equations, right), 0, None)


def poisson(mean, count):
    """Return the probabilities of 0, 1, ... `count - 1`."""
    steps = np.arange(1, count)
    logs = np.concatenate([[0.0], np.cumsum(np.log(max(mean, 1e-300)) - np.log(steps))]) - mean
    return np.exp(logs)


def _quantiles(rate, taus, most, law, sizes, left, quantiles, points=24):
    """Who comes `u` into a batch with `j` ahead waits for its end, for the full batches of those ahead, and for its own."""
    bins = 200_000
    longest = taus[most] * (len(law) / most + 3)
    histogram = np.zeros(bins + 1)
    histogram[round(taus[1] / longest * bins)] += law[0]  # who finds nobody
    nodes, weights = np.polynomial.legendre.leggauss(points)
    for state in np.flatnonzero(law > 1e-9):
        tau = taus[sizes[state]]
        for node, weight in zip((nodes + 1) / 2 * tau, weights / 2, strict=True):
            arrivals = poisson(rate * node, int(rate * tau + 8 * math.sqrt(rate * tau) + 12))
            for came in np.flatnonzero(arrivals > 1e-8):
                ahead = left[state] + came
                start = tau - node + ahead // most * taus[most]
                behind = poisson(rate * start, most - ahead % most)
                behind[-1] += 1 - behind.sum()  # no more than fit
                ends = start + taus[ahead % most + 1 : most + 1]
                places = np.minimum(np.rint(ends / longest * bins), bins).astype(int)
                np.add.at(histogram, places, law[state] * rate * tau * weight * arrivals[came] * behind)
    shares = np.cumsum(histogram) / histogram.sum()
    return {quantile: float(np.searchsorted(shares, quantile) / bins * longest) for quantile in quantiles}


def clairvoyant(arrivals, seconds, most, objective):
    """Return the largest share of callers that one slot can answer within `objective`, by one who knows all to come.

    Dynamic programming over (who is next, how many were given up): the earliest time at which the slot can be free. A batch
    is of callers in a row, as whoever is given up for a later one could as well have been served in its place.
    """
    arrivals = np.asarray(arrivals)
    total = len(arrivals)
    deadlines = arrivals + objective
    sizes = np.arange(1, most + 1)[:, None]
    taus = np.array([[seconds(size)] for size in range(1, most + 1)])
    able = np.stack([_next_able(arrivals, deadlines, size, tau) for size, tau in enumerate(taus[:, 0].tolist(), 1)])
    frontier = [None] * (total + 1)  # for each who is next: arrays of how many were given up, and when the slot is free
    frontier[0] = {0: 0.0}
    best = total
    for place in range(total):
        states, frontier[place] = frontier[place], None
        if not states:
            continue
        lost, free = _undominated(states)
        best = min(best, int(lost[0]) + total - place)
        first = np.maximum(np.searchsorted(deadlines, free + taus - 1e-9), place)  # a row is a size, a column a state
        begins = able[sizes - 1, first]
        after, given = begins + sizes, lost + begins - place
        ends = np.maximum(free, arrivals[np.minimum(after, total) - 1]) + taus
        good = after <= total
        for at, gone, end in zip(after[good].tolist(), given[good].tolist(), ends[good].tolist(), strict=True):
            reached = frontier[at]
            if reached is None:
                frontier[at] = {gone: end}
            elif end < reached.get(gone, math.inf):
                reached[gone] = end
    if frontier[total]:
        best = min(best, min(frontier[total]))
    return 1 - best / total


def _next_able(arrivals, deadlines, size, tau):
    """Return for each place the first from it on whose `size` callers in a row can share a batch, all in time."""
    total = len(arrivals)
    able = np.full(total + 1, total)
    for place in range(total - size, -1, -1):
        fits = arrivals[place + size - 1] + tau <= deadlines[place] + 1e-9
        able[place] = place if fits else able[place + 1]
    return able


def _undominated(states):
    """Return those states that no other one is both earlier and less lossy than, by how much was given up."""
    lost, free, earliest = [], [], math.inf
    for gone in sorted(states):
        if states[gone] < earliest - 1e-12:
            earliest = states[gone]
            lost.append(gone)
            free.append(earliest)
    return np.array(lost), np.array(free)
