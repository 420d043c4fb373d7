"""Ray: each slot has an actor of its own, somewhere on a cluster. All that waits for it waits in the slot's own thread."""

from __future__ import annotations

import concurrent.futures
import contextlib
import logging
import math
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from asyncbatch import padding, parameters
from asyncbatch.errors import WorkerLost
from asyncbatch.function import is_class, name_of

from .answers import outcome_of, refuse_async
from .aside import Aside
from .replica import Garbled, Replica, Unpicklable, pickled, pickled_apart, ray, unpickled
from .restarts import Restarts

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextvars import Context

__all__ = ("RayExecutor", "RaySlot")

_DEAD = 4  # of the states that Ray has for an actor
_OURS = {"max_restarts": "restarts", "max_task_retries": "retries"}
_CONNECTING = threading.Lock()


@dataclass(frozen=True, slots=True, init=False)
class RayExecutor:
    """Runs the function in `replicas` actors on a Ray cluster, one batch each at a time.

    A class is built once in each actor, when the batcher is entered. `build_timeout` is how long that may take, the time
    until the cluster has room for the actor included. `options` are the actor's: `num_cpus`, `num_gpus`, `resources`,
    `scheduling_strategy`, `runtime_env`, ... Functions travel as Ray's own do: by name, or as they are where they have no
    name. asyncbatch must be installed where actors run, and whatever the function imports.

    It uses the Ray that the process is connected to, else connects to `address`, else starts one, as `ray.init` does. As
    that takes seconds, it stays for the next batcher, until the program ends or calls `ray.shutdown()`.

    Arrays travel through the object store: those among the items are read-only, and so are those among the results. One
    that is kept keeps its whole batch there; copy what is to be kept for long.

    An item that does not pickle, or does not unpickle in the actor, fails alone, and so does a result that does not pickle;
    one that does not unpickle here fails its batch.

    An actor that ends, its node with it or not, or that takes longer than `timeout` seconds for a batch, fails that batch
    with `WorkerLost`, unless it may have `retries`, and is replaced: up to `restarts` times a minute, after which callers
    get `WorkerLost` at once. One that is not ready in time is lost as well; `WorkerLost` is then what entering the batcher
    raises. A batch whose callers have all left keeps its actor until it ends.
    """

    replicas: int
    address: str | None
    timeout: float
    build_timeout: float
    retries: int
    restarts: int
    options: Mapping[str, Any] = field(hash=False)

    def __init__(
        self,
        replicas: int = 1,
        *,
        address: str | None = None,
        timeout: float = math.inf,
        build_timeout: float = math.inf,
        retries: int = 0,
        restarts: int = 5,
        **options: Any,
    ) -> None:
        if ray is None:
            raise ImportError("RayExecutor needs Ray; run `pip install asyncbatch[ray]`", name="ray")
        settings = {
            "replicas": parameters.count("replicas", replicas),
            "address": address if address is None else parameters.instance("address", address, str, "'auto'"),
            "timeout": parameters.amount("timeout", timeout),
            "build_timeout": parameters.amount("build_timeout", build_timeout),
            "retries": parameters.whole("retries", retries),
            "restarts": parameters.whole("restarts", restarts),
            "options": options,
        }
        for name, value in settings.items():
            object.__setattr__(self, name, value)
        for name in _OURS.keys() & options:
            raise TypeError(f"{name} is Ray's; write {_OURS[name]}=, which replaces lost actors by new ones")
        self.actor_class()  # Ray says which options it does not know

    def actor_class(self) -> Any:
        """Return the class of the actors, as Ray sees it."""
        # What is lost is replaced here, where it is known whether a batch may run twice.
        return ray.remote(Replica).options(**self.options, max_restarts=0, max_task_retries=0)

    def accept(self, function: Callable[..., Any]) -> None:
        """Raise `TypeError` if `function` cannot run here."""
        refuse_async(function, "an actor of asyncbatch's")

    @property
    def capacity(self) -> int:
        return self.replicas

    def open(self, function: Callable[..., Any], name: str, count: int) -> Sequence[RaySlot]:
        try:
            plan = ray.cloudpickle.dumps((function, is_class(function), name))
        except Exception as error:
            raise TypeError(
                f"{name_of(function)} cannot be told to an actor ({type(error).__name__}: {error}); what it refers to must "
                "pickle: build a model, a client or a lock in the __init__ of a class, which runs in the actor"
            ) from error
        return [RaySlot(self, name, plan) for _ in range(count)]


class RaySlot:
    """One actor, or none yet, or the next one in its place."""

    cancellable = False

    def __init__(self, settings: RayExecutor, name: str, plan: bytes) -> None:
        self._settings = settings
        self._name = name
        self._plan = plan
        self._actor: Any = None
        self._connection = ("", "")  # that of the actor
        self._built = self._was_built = False
        self._aside = Aside(f"asyncbatch {name}")
        self.restarts = Restarts(name, settings.restarts)

    @property
    def available(self) -> bool:
        return self._built and not self._aside.busy and not self._is_dead()

    async def prepare(self) -> None:
        """Wait for work whose awaiter was cancelled, replace an actor that was lost, let a new one build the class."""
        while not self.available:
            if self._aside.busy:
                await self._aside.idle()
            elif self._actor is None:
                await self.restarts.turn()
                await self._in_thread(self._start)
            elif self._is_dead():
                self._lose("lost")
            else:
                await self._build_or_lose()

    async def run(self, items: list[Any], context: Context) -> Sequence[Any]:
        retries = self._settings.retries
        while True:
            if not self.available:
                await self.prepare()
            try:
                return await self._in_thread(self._trip, items, context)  # type: ignore[no-any-return]
            except WorkerLost:
                if not retries:
                    raise
                retries -= 1

    def close(self) -> None:
        self._end()
        self._aside.close(self._end if self._aside.busy else None)  # what that job may have started

    async def _build_or_lose(self) -> None:
        try:
            await self._in_thread(self._build)
        except WorkerLost as error:
            # What was built once does not end its actor: more likely it was put on the very node that had just been lost.
            if not self._was_built or isinstance(error.__cause__, TimeoutError):
                raise

    async def _in_thread(self, call: Callable[..., Any], *args: Any) -> Any:
        return outcome_of(await self._aside.run(call, *args))

    # In the thread.

    def _start(self) -> tuple[bool, None]:
        with _CONNECTING:
            if not ray.is_initialized():
                _connect(self._settings.address)
        self._connection = _connection()
        self._actor = self._settings.actor_class().remote()
        return True, None

    def _build(self) -> tuple[bool, Any]:
        ok, outcome = self._ask("build", self._plan)
        self._built = ok
        self._was_built |= ok
        return ok, outcome

    def _trip(self, items: list[Any], context: Context) -> tuple[bool, Any]:
        with contextlib.suppress(Unpicklable):
            ok, outcome = self._run(pickled(items), context)
            if not isinstance(outcome, Garbled):
                return ok, outcome
        return self._run(pickled_apart(items), context)

    def _run(self, question: Any, context: Context) -> tuple[bool, Any]:
        ok, outcome, *gathered = self._ask("run", question)
        padding.tell(context, gathered)
        return ok, outcome

    def _ask(self, method: str, question: Any) -> tuple[Any, ...]:
        """Return what the actor answers. Raises `WorkerLost` if it does not."""
        actor, timeout = self._actor, self._settings.timeout if self._built else self._settings.build_timeout
        limit = timeout if timeout < math.inf else None
        try:
            answer = ray.get(getattr(actor, method).remote(question), timeout=limit)
        except ray.exceptions.RayError as error:
            if isinstance(error, ray.exceptions.RayTaskError | ray.exceptions.ObjectStoreFullError):
                raise  # the actor lives
            late = isinstance(error, ray.exceptions.GetTimeoutError)
            lost = WorkerLost.far_away(self._name, timeout if late else None, loaded=self._built)
            self._lose("timeout" if late else "lost")
            raise lost from error
        return unpickled(answer)  # type: ignore[no-any-return]

    # Actors.

    def _is_dead(self) -> bool:
        """Whether it is known here that the actor has ended, as it was idle: no batch need fail for that."""
        if self._actor is None:
            return False
        # No call to the cluster; Ray Data goes by it too.
        return self._is_foreign() or self._actor._get_local_state() == _DEAD  # noqa: SLF001

    def _is_foreign(self) -> bool:
        """Whether Ray was shut down since. One that is asked for an actor from before ends the process."""
        return not ray.is_initialized() or self._connection != _connection()

    def _lose(self, reason: str) -> None:
        self.restarts.lost(reason)
        self._built = False
        self._end()

    def _end(self) -> None:
        actor, self._actor = self._actor, None
        if actor is not None and not self._is_foreign():
            ray.kill(actor)


def _connection() -> tuple[str, str]:
    """Return what tells one connection to Ray from all others."""
    context = ray.get_runtime_context()
    return context.get_node_id(), context.get_job_id()


def _connect(address: str | None) -> None:
    """Connect to Ray, or start one, in a thread that stays: the processes of Ray end with the thread that started them."""
    connected: concurrent.futures.Future[None] = concurrent.futures.Future()

    def stay() -> None:
        try:
            ray.init(address, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
        except BaseException as error:  # noqa: BLE001  # the slot's thread raises it
            connected.set_exception(error)
        else:
            connected.set_result(None)
            threading.Event().wait()

    threading.Thread(target=stay, name="asyncbatch ray", daemon=True).start()
    connected.result()
