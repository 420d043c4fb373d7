"""For tests: a loop whose clock jumps, and a batch function that remembers and obeys a script.

With anyio's pytest plugin, every test of a module on the virtual clock, where an hour of waiting takes no time:

    @pytest.fixture
    def anyio_backend():
        return "asyncio", {"loop_factory": VirtualClockLoop}

    @pytest.mark.anyio
    async def test_waits_for_a_full_batch():
        function = RecordingFunction(seconds=0.1)
        async with Batcher(function, max_batch_size=2, max_wait=3600) as batcher:
            async with anyio.create_task_group() as tg:
                tg.start_soon(batcher, "a")
                tg.start_soon(batcher, "b")
        assert function.batches == [["a", "b"]]
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import math
import selectors
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeAlias

__all__ = ("RecordingFunction", "Step", "VirtualClockLoop")


# How many real seconds a thread may take from one callback of a future that is done to the next.
_MIDST = 0.005


class VirtualClockLoop(asyncio.SelectorEventLoop):
    """An event loop whose time stands still while anything can run, and jumps to the next timer when nothing can.

    `time()` starts at 0. While a call made with `run_in_executor` is out, or a batch in a thread or a pool is, the
    clock waits for it in real time, up to `patience` seconds, and does not run away. If nothing is scheduled and nothing
    is out, nothing will ever happen: then, after `patience` real seconds in which another thread may still come to help,
    `select` raises `RuntimeError` with the tasks that wait, where another loop would hang.
    """

    def __init__(self, patience: float = 2.0) -> None:
        self._now = 0.0
        self._out = 0
        self._just_back = False
        self._default: Any = None
        self._patience = patience
        super().__init__(_JumpingSelector(self))

    def time(self) -> float:
        return self._now

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> Any:  # type: ignore[override]
        if executor is None:
            if self._default is None:
                self.set_default_executor(concurrent.futures.ThreadPoolExecutor(thread_name_prefix="asyncio"))
            executor = self._default
        noting = _Noting(executor)
        future = super().run_in_executor(noting, func, *args)  # type: ignore[arg-type]
        self._out += 1
        # After the callback that brings the result, as the clock goes on with this; and even if nobody awaits it.
        noting.work.add_done_callback(self._tell_back)
        return future

    def set_default_executor(self, executor: Any) -> None:
        self._default = executor
        super().set_default_executor(executor)

    def expect(self, answers: int) -> None:
        """Wait in real time for so many more `answers` of threads, or fewer, that are called otherwise."""
        self._out += answers

    def _tell_back(self, _: object) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self.call_soon_threadsafe(self._came_back)

    def _came_back(self) -> None:
        self._out -= 1
        self._just_back = True

    def _select(self, wait_for_real: Callable[[float | None], list[Any]], timeout: float | None) -> list[Any]:
        ready = wait_for_real(0)
        if ready or timeout == 0:
            return ready
        if self._just_back:  # the thread that has told so may be in the midst of telling more
            self._just_back = False
            return wait_for_real(_MIDST)
        if self._out or timeout is None:
            ready = wait_for_real(self._patience)
            if not ready and not self._out:
                raise RuntimeError(f"nothing will ever happen: no timer is set, and these wait: {self._waiting()}")
        elif timeout > 0:
            self._now += timeout
            # Late in a long time (a year or so) floats are coarser than what the loop takes for "now": it would spin.
            resolution: float = self._clock_resolution  # type: ignore[has-type]
            self._clock_resolution = max(resolution, math.ulp(self._now))
        return ready

    def _waiting(self) -> str:
        return ", ".join(sorted(task.get_name() for task in asyncio.all_tasks(self))) or "no tasks"


class _Noting:
    """Stands in for an executor in `run_in_executor`, to keep the future of the work itself."""

    work: concurrent.futures.Future[Any]

    def __init__(self, executor: Any) -> None:
        self._executor = executor

    def submit(self, func: Callable[..., Any], *args: Any) -> concurrent.futures.Future[Any]:
        self.work = self._executor.submit(func, *args)
        return self.work


class _JumpingSelector(selectors.DefaultSelector):
    """The real selector, which the loop may not sleep in."""

    def __init__(self, loop: VirtualClockLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[Any]:
        return self._loop._select(super().select, timeout)  # noqa: SLF001  # the two are one thing


Step: TypeAlias = "float | BaseException | type[BaseException] | asyncio.Event | Callable[[list[Any]], Any]"


class RecordingFunction:
    """An async batch function that remembers its batches and follows a script.

    Each batch takes `seconds`, a number or a function of the batch size, and gives `result(item)` for each item, by default
    the item itself. Each step of `script` replaces that for one batch, in order:

    - a number: take that many seconds;
    - an exception, or a class of one: raise it;
    - an event of asyncio or anyio: hang until it is set;
    - a callable: return what it returns for the list of items, whatever that is.

    `batches` are the items of each batch that began; `times` are when each began, on the loop's clock; `running` and
    `most_running` are how many run now and ran at once at most; `cancelled` is how many were cancelled.
    """

    def __init__(
        self,
        result: Callable[[Any], Any] = lambda item: item,
        *,
        seconds: float | Callable[[int], float] = 0.0,
        script: Iterable[Step] = (),
    ) -> None:
        self.batches: list[list[Any]] = []
        self.times: list[float] = []
        self.running = self.most_running = self.cancelled = 0
        self._result = result
        self._seconds = seconds
        self._script = iter(script)

    @property
    def items(self) -> list[Any]:
        """All items of all batches, in the order in which they ran."""
        return [item for batch in self.batches for item in batch]

    async def __call__(self, items: list[Any]) -> Sequence[Any]:
        self.batches.append(list(items))
        self.times.append(asyncio.get_running_loop().time())
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            outputs: Sequence[Any] = await self._follow(items)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.running -= 1
        return outputs

    async def _follow(self, items: list[Any]) -> Any:
        step = next(self._script, None)
        if isinstance(step, BaseException) or (isinstance(step, type) and issubclass(step, BaseException)):
            raise step
        if step is not None and hasattr(step, "wait"):
            await step.wait()  # pyright: ignore[reportAttributeAccessIssue]
        elif callable(step):
            given: Callable[[list[Any]], Any] = step
            return given(items)
        else:
            await self._work(len(items), step)  # pyright: ignore[reportArgumentType]  # a number or None by now
        return [self._result(item) for item in items]

    async def _work(self, size: int, seconds: float | None) -> None:
        if seconds is None:
            seconds = self._seconds(size) if callable(self._seconds) else self._seconds
        if seconds:
            await asyncio.sleep(seconds)
