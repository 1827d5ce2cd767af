"""One grant: how it is acquired, renewed, lost and released. Its coroutines run in the client's thread."""

import asyncio
import itertools
import logging
import math
import random
import threading
import uuid
from collections.abc import Callable
from typing import Any

from ._base import BaseClient, backoff, now, path
from ._errors import LockLost, NotGranted, ProblemError, Unavailable

log = logging.getLogger("db_locks")
# How long one request waits before the client asks again, which shows that the service is still there. The repeat takes
# over the place in the queue, which the service keeps for longer than that.
LONGEST_REQUEST, LONGEST_WAIT = 30.0, 45.0
# A lock counts as lost this part of the lease, and at most this many seconds, before the lease ends. The margin covers
# threads that run late, and clocks that run at different speeds.
MARGIN, LONGEST_MARGIN = 0.05, 1.0
# The longest pause between two checks of the clock, in seconds: timers stop while the machine is suspended.
LONGEST_PAUSE = 0.1
# The number of attempts to release a grant whose answer was not seen, over 0.2 to 0.35 s.
UNSEEN_TRIES = 4
# The grant has ended. A repeat would not change that.
ENDED = {"lease-expired", "version-mismatch", "revoked", "not-found"}


class Lease:
    """A grant that is requested, kept and released, once. Times are in seconds."""

    def __init__(
        self, client: BaseClient, kind: str, key: str, body: dict[str, Any], wait: float, on_lost: Callable[[], object]
    ) -> None:
        self.key, self._client, self._path = key, client, path(kind, key)
        self._body, self._wait, self._on_lost = body, wait, on_lost
        self.version = str(uuid.uuid4())
        self.grant: dict[str, Any] = {}
        self.problem: ProblemError | None = None
        self._sent = self._relied_until = -math.inf
        # Guards the end of the lease: another thread may have found by the clock that it is lost.
        self._mutex = threading.Lock()
        self._lost = self._ended = False
        self._renewal: asyncio.Task[None] | None = None

    def remaining(self) -> float:
        """How long the lock is certainly held if it is not renewed. The clock decides."""
        with self._mutex:
            left = self._relied_until - now()
            # A lost lock stays lost, since its holder may know that already.
            self._lost = self._lost or (left <= 0 and not self._ended)
            return 0.0 if self._lost or self._ended else left

    async def acquire(self) -> None:
        """Wait for the lock. Raise `NotGranted` if others hold it for the whole wait."""
        give_up, failures = now() + self._wait, 0
        try:
            while not self.grant:
                began = now()
                try:
                    await self._ask(give_up)
                except NotGranted:
                    if now() >= give_up:
                        raise
                except ProblemError as problem:
                    if problem.name not in ENDED or not failures or now() >= give_up:
                        raise
                    # A grant whose answer was lost has ended meanwhile.
                    self.version, self.problem = str(uuid.uuid4()), None
                except Unavailable as error:
                    failures += 1
                    if now() >= give_up and failures >= len(self._client._urls):
                        raise
                    log.warning("acquire: %s", error)
                    await asyncio.sleep(max(0.0, backoff(failures) - (now() - began)))
            self.check()
        except ProblemError:
            raise
        except BaseException:
            # A grant whose answer was not seen is released. A place in the queue ends by itself; until the service has
            # noticed that, it may still be granted.
            self.abandon(tries=UNSEEN_TRIES)
            raise
        self._renewal = asyncio.create_task(self._keep())

    async def _ask(self, give_up: float) -> None:
        """Request the lock once. The same version requests the same grant, or the same place in the queue."""
        left = max(0.0, give_up - now())
        body = {**self._body, "version": self.version, "wait_ms": math.ceil(min(left, LONGEST_WAIT) * 1000)}
        sent, grant = await self._post("acquire", body, min(left, LONGEST_REQUEST) + self._client._timeout)
        lease = grant["lease_duration_ms"] / 1000
        if sent + grant["expires_in_ms"] / 1000 - now() < 2 / 3 * lease:
            # The lease counts from when the request was sent, and the wait used up a part of it, so renew it.
            await self.heartbeat({}, min(lease / 3, self._client._timeout))
        else:
            self._accept(sent, grant)

    async def _post(self, call: str, body: dict[str, Any], timeout: float) -> tuple[float, dict[str, Any]]:
        sent, grant = await self._client._once("POST", f"{self._path}/{call}", body, timeout)
        if call != "release" and grant.get("version") != self.version:
            raise Unavailable(f"{self._path}/{call}: not an answer of a lock service")
        return sent, grant

    def _accept(self, sent: float, grant: dict[str, Any]) -> None:
        """Count the lease again, from before the request was sent."""
        with self._mutex:
            if sent > self._sent and not self._lost:
                margin = min(MARGIN * grant["lease_duration_ms"] / 1000, LONGEST_MARGIN)
                self._relied_until = sent + grant["expires_in_ms"] / 1000 - margin
                self.grant, self._sent = grant, sent

    async def _keep(self) -> None:
        """Renew the lease until it is released or lost."""
        jitter = random.uniform(0.8, 1.0)  # noqa: S311 (no secret)
        retry, failures, heartbeat = -math.inf, 0, None
        try:
            while (left := self.remaining()) > 0 and not self.problem:
                third = self.grant["lease_duration_ms"] / 3000
                due = max(retry, self._sent + third * jitter)
                if heartbeat is None and now() < due:
                    await asyncio.sleep(min(left, LONGEST_PAUSE, max(0.0, due - now())))
                    continue
                if heartbeat is None:
                    # Ask every URL while there is time.
                    share = left / max(1, len(self._client._urls) - failures)
                    heartbeat = asyncio.create_task(self.heartbeat({}, min(third, share)))
                await asyncio.wait({heartbeat}, timeout=min(left, LONGEST_PAUSE))
                if heartbeat.done():
                    error, heartbeat = heartbeat.exception(), None
                    failures = failures + 1 if error else 0
                    if error:
                        log.warning("heartbeat: %s", error)
                        retry = now() + min(backoff(failures), left / 4)
        finally:
            if heartbeat:
                heartbeat.cancel()
            with self._mutex:
                self._lost = self._lost or not self._ended
            if self._lost:
                self._on_lost()

    async def heartbeat(self, fields: dict[str, Any], timeout: float) -> None:
        """Renew the lease once, and change what is stored with the lock."""
        try:
            self._accept(*await self._post("heartbeat", {"version": self.version, **fields}, timeout))
        except ProblemError as problem:
            self.problem = problem if problem.name in ENDED else None
            raise

    async def release(self, fields: dict[str, Any]) -> None:
        """Release the lock. Raise `LockLost` if it was lost before. Without a service, the lease ends by itself."""
        until = now() + min(self.remaining(), self._client._timeout)
        if self._lost:
            self.abandon()
            raise LockLost(self.key, self.problem)
        self._end()
        await self._give_back(fields, until)
        if self.problem:
            raise LockLost(self.key, self.problem)

    async def _give_back(self, fields: dict[str, Any], until: float, tries: int = 1) -> None:
        for failures in itertools.count():
            try:
                await self._post("release", {"version": self.version, **fields}, self._client._timeout)
            except Unavailable as error:
                if now() < until or failures + 1 < len(self._client._urls):
                    await asyncio.sleep(backoff(failures))
                    continue
                log.warning("release: %s", error)
            except ProblemError as problem:
                if problem.name in ENDED and failures + 1 < tries:
                    await asyncio.sleep(backoff(failures))
                    continue
                # After an attempt whose answer was lost, another caller may hold the lock by now. So it was released.
                if not failures and problem.name in ENDED - {"not-found"}:
                    self.problem = problem
                elif problem.name not in ENDED:
                    raise
            return

    def abandon(self, tries: int = 1) -> None:
        """Release what may have been granted, without waiting for that. In the client's thread."""
        self._end()
        task = asyncio.ensure_future(self._give_back({}, now(), tries))
        self._client._releases.add(task)
        task.add_done_callback(self._client._releases.discard)

    def _end(self) -> None:
        with self._mutex:
            self._ended = True
        if self._renewal:
            self._renewal.cancel()

    def check(self) -> None:
        """Raise `LockLost` unless the lock is held."""
        if self.remaining() <= 0:
            raise LockLost(self.key, self.problem)
