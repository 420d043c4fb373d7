"""Real-time analytics: card payments are scored as they come, in windows of some milliseconds, beside one by one.

    pip install asyncbatch
    python examples/workloads/payments.py          a minute; --help says what can be set

Payments come at random, whoever still waits for a score. Scoring one joins the profiles of its account and of its shop, and
tells how far it is from what is usual for both (a Mahalanobis distance). The payments are made up, so it is known which ones
are frauds. A window makes payments wait, and saves work: at several rates it is shown what each does to the latencies.
"""

from functools import partial
from typing import NamedTuple

import numpy as np
from comparison import arguments, at_once, closing, curve, in_words, measured, open_loop, table, write

from asyncbatch import Batcher

ACCOUNTS, SHOPS = 50_000, 2_000
WINDOWS = (0, 2, 10)  # ms


class Payment(NamedTuple):
    account: int
    shop: int
    amount: float
    hour: float
    x: float  #: where it was paid, in km
    y: float


class World:
    """What is known of accounts and shops, as last night's job left it; and the payments that they make."""

    def __init__(self, seed: int = 0) -> None:
        self.dice = dice = np.random.default_rng(seed)
        self.amounts = dice.normal(3, 0.7, ACCOUNTS)  # logarithms of what an account pays, on average
        self.spreads = dice.uniform(0.3, 0.8, ACCOUNTS)
        self.hours = dice.uniform(0, 24, ACCOUNTS)
        self.homes = dice.uniform(0, 500, (ACCOUNTS, 2))
        self.prices = dice.normal(3, 0.5, SHOPS)

    def payments(self, count: int, frauds: float) -> tuple[list[Payment], np.ndarray]:
        """Return payments, and which of them are frauds: larger than is usual, far from home, at odd hours."""
        dice, accounts = self.dice, self.dice.integers(0, ACCOUNTS, count)
        fraud = dice.random(count) < frauds
        shops = dice.integers(0, SHOPS, count)
        usual = 0.7 * self.amounts[accounts] + 0.3 * self.prices[shops]
        amounts = np.exp(usual + self.spreads[accounts] * dice.normal(0, 1, count) + fraud * dice.uniform(0.5, 2.5, count))
        hours = (self.hours[accounts] + dice.normal(0, 2, count) + fraud * dice.uniform(2, 12, count)) % 24
        places = self.homes[accounts] + dice.normal(0, 5, (count, 2)) * np.where(fraud, 8, 1)[:, None]
        rows = zip(accounts, shops, amounts, hours, *places.T, strict=True)
        return [Payment(int(account), int(shop), *map(float, rest)) for account, shop, *rest in rows], fraud


class Scores:
    """Called with payments, returns how unusual each is; built from payments of which hardly any is a fraud."""

    def __init__(self, world: World, history: list[Payment]) -> None:
        self.world = world
        features = self.features(history)
        self.centre = features.mean(axis=0)
        self.weights = np.linalg.cholesky(np.linalg.inv(np.cov(features.T)))

    def features(self, payments: list[Payment]) -> np.ndarray:
        """Return a row for each payment: it, joined with what is known of its account and of its shop."""
        world, table = self.world, np.array(payments)
        accounts, shops = table[:, :2].astype(int).T
        amounts = np.log(table[:, 2])
        apart = np.abs(table[:, 3] - world.hours[accounts])
        return np.stack(
            [
                (amounts - world.amounts[accounts]) / world.spreads[accounts],
                amounts - world.prices[shops],
                np.minimum(apart, 24 - apart),
                np.log1p(np.hypot(*(table[:, 4:] - world.homes[accounts]).T)),
            ],
            axis=1,
        )

    def __call__(self, payments: list[Payment]) -> list[float]:
        return np.linalg.norm((self.features(payments) - self.centre) @ self.weights, axis=1).tolist()


def main(options) -> None:
    world = World()
    history, _ = world.payments(20_000, 0.0)
    score = Scores(world, history)
    alarm = np.quantile(score(history), 0.999)
    cost = curve(score, history[0])

    # Without threads, as a score takes less than the way to a thread and back.
    windows = partial(Batcher, max_batch_size=options.max_batch_size, executor="inline")
    ways = {"One by one": at_once} | {f"Windows of {ms} ms": partial(windows, max_wait=ms / 1000) for ms in WINDOWS}
    found = {}
    for rate in sorted({*options.rates, options.rate}):
        sent, fraud = world.payments(int(rate * options.seconds), 0.01)
        answered = partial(
            measured,
            function=score,
            items=sent,
            load=partial(open_loop, rate=rate),
            price_per_hour=options.price_per_hour,
            quality=partial(quality, alarm=alarm, fraud=fraud),
        )
        found[rate] = [answered(method, way) for method, way in ways.items()]

    rows = found[options.rate]
    print(f"{options.rate:,} payments a second", table(rows), closing(rows[0], rows[2]), latencies(found), sep="\n\n")
    print(f"\n{in_words('payments', cost)}")
    write(options, workload="analytics", rows=rows, curves={"payments": cost}, rates=found)


def quality(scores: list[float], alarm: float, fraud: np.ndarray) -> dict[str, float]:
    alarms = np.array(scores) > alarm
    return {"frauds found": float(alarms[fraud].mean()), "alarms right": float(fraud[alarms].mean())}


def latencies(found: dict[int, list[dict]]) -> str:
    lines = ["Half, and 99 of 100, of the payments have their score within so many ms:"]
    for rate, rows in found.items():
        cells = (f"{row['method'].lower()} {row['p50'] * 1e3:.1f} and {row['p99'] * 1e3:.1f}" for row in rows)
        lines.append(f"{rate:>7,} a second: {'; '.join(cells)}")
    return "\n".join(lines)


if __name__ == "__main__":
    parser = arguments(__doc__, rate=8000, seconds=2.0, max_batch_size=256)
    parser.add_argument(
        "--rates", type=int, nargs="*", default=[1000, 4000, 16000, 24000], help="other rates, for latencies"
    )
    main(parser.parse_args())
