"""What runs in the worker processes of `test_process.py`: apart, so that they need not import pytest."""

from __future__ import annotations

import ctypes
import functools
import os
import signal
import sys
import threading
import time

import numpy as np

from asyncbatch import Isolated, Stacked, batched

SECRET = "correct horse battery staple"


def wait_at(name):
    with open(f"{name}.came", "wb") as came:
        came.write(b"!")
    with open(f"{name}.open", "rb", buffering=0) as opens:
        opens.read(1)


def identity(items):
    return items


def pids(items):
    return [os.getpid()] * len(items)


def perform(items):
    """Do what the first item names, so that one worker serves a test with many cases."""
    return globals()[items[0][0]]([argument for _, argument in items])


def asked(name, *arguments):
    return [(name, argument) for argument in arguments]


class Model:
    built = 0

    def __init__(self, factor=10):
        self.factor = factor
        Model.built += 1

    def __call__(self, items):
        return [(os.getpid(), Model.built, item * self.factor) for item in items]


def meet(name, items):
    wait_at(name)
    return pids(items)


@batched(executor="process")
def decorated(items):
    return [item + 1 for item in items]


def passing_on(function):
    @functools.wraps(function)
    def passes_on(items):
        return function(items)

    return passes_on


@passing_on
@passing_on
def twice_decorated(items):
    return [item + 1 for item in items]


@batched(executor="process")
@Isolated
@passing_on
def inverses(items):
    return [1 / item for item in items]


@Stacked
def doubled(array):
    return array * 2


@Isolated
class Divisor:
    def __init__(self, dividend=6):
        self.dividend = dividend

    def __call__(self, items):
        return [self.dividend / item for item in items]


def sums(array, mask):
    return array.sum(axis=1, where=mask)


def lengths(items):
    return [len(items)] * len(items)


class WithMethod:
    def __init__(self, addend):
        self.addend = addend

    @batched(executor="process")
    def plus(self, items):
        return [(item + self.addend, os.getpid()) for item in items]

    def add(self, items):
        return [item + self.addend for item in items]


class Waits:
    def __init__(self, name):
        wait_at(name)

    def __call__(self, items):
        return pids(items)


class Fails:
    def __init__(self, name):
        if not os.path.exists(name):
            open(name, "w").close()
            raise OSError("not this time")

    def __call__(self, items):
        return items


def reads_variable(items):
    return [(len(items), type(items).__name__)] * len(items)


def nothing(items):
    return None


def mapping(items):
    return {item: item for item in items}


def generator(items):
    return (item for item in items)


def too_many(items):
    return [*items, 1]


def too_long_an_array(items):
    return np.zeros(len(items) + 1)


def no_dimensions(items):
    return np.array(3)


def doubled_list(items):
    return [item for item in items for _ in (0, 1)][::2]


def as_array(items):
    return np.asarray(items)


def means(items):
    return np.asarray(items).mean(axis=(1, 2))


def sharing(items):
    whole = np.asarray(items)
    return [
        (
            type(items).__mro__[1].__name__,
            np.shares_memory(whole, item),
            item.flags.writeable,
            np.asarray(items, "f8").dtype.str,
        )
        for item in items
    ]


def changed(items):
    items[0] = items[0] + 1
    items.append(items.pop(1))
    return list(np.asarray(items))


def in_place(items):
    whole = np.asarray(items)
    whole *= 2
    return whole


def backwards(items):
    return items[::-1]


class Unpicklable:
    def __init__(self, secret=SECRET):
        self.secret = secret

    def __reduce__(self):
        raise ValueError(f"{self.secret} does not pickle")


def explode(secret):
    raise ValueError(f"{secret} does not unpickle")


class Ununpicklable(Unpicklable):
    def __reduce__(self):
        return explode, (self.secret,)


def unpicklable_at_two(items):
    return [Unpicklable() if item == 2 else item for item in items]


def ununpicklable_at_two(items):
    return [Ununpicklable() if item == 2 else item for item in items]


class Awkward(Exception):
    def __init__(self, one, two):
        super().__init__(f"{one} and {two}")


class Locked(Exception):
    def __init__(self, text):
        super().__init__(text)
        self.lock = threading.Lock()


def raises_value_error(items):
    raise ValueError("so it is")


def raises_awkward(items):
    raise Awkward(1, 2)


def raises_locked(items):
    raise Locked("so it is")


def raises_exit(items):
    sys.exit(3)


def raises_interrupt(items):
    raise KeyboardInterrupt


def raises_stop(items):
    next(iter([]))


def raises_chained(items):
    try:
        raises_value_error(items)
    except ValueError as error:
        raise LookupError("because of that") from error


def returns_errors(items):
    return [ValueError(f"not {item}") if item % 2 else item for item in items]


def returns_awkward(items):
    return [Awkward(1, 2) if item % 2 else item for item in items]


def kills_itself(items):
    os.kill(os.getpid(), signal.SIGKILL)


def exits(items):
    os._exit(3)


def leaves(items):
    os._exit(0)


def segfaults(items):
    ctypes.string_at(0)


def deadly(items):
    if "die" in items:
        exits(items)
    return pids(items)


def waits(names):
    wait_at(names[0])


def dies_or_waits(name, items):
    if items == ["die"]:
        kills_itself(items)
    wait_at(name)
    return pids(items)


def forks_and_dies(items):
    if items == ["die"]:
        if os.fork() == 0:
            time.sleep(60)
            os._exit(0)
        kills_itself(items)
    return pids(items)


class Dies:
    def __init__(self):
        os._exit(4)

    def __call__(self, items):
        return items


def dies_at_first(name, items):
    with open(name, "a") as file:
        file.write("x")
    if os.path.getsize(name) <= int(items[0]):
        kills_itself(items)
    return items


def exhausts_memory(items):
    import resource

    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (1 << 20, before[1]))
    try:
        return [np.zeros(1 << 28)]
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def prints_and_dies(items):
    print("last words")
    print("and more", file=sys.stderr)
    exits(items)


def first_pid(name, items):
    if items != [1]:
        wait_at(name)
    return pids(items)


def forks_and_lets_both_return(items):
    return ["fork"] * len(items) if os.fork() == 0 else items


def closes_all_files(items):
    if items == ["close"]:
        os.closerange(3, 256)
    return items
