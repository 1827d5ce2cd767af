"""The client for asyncio."""

import asyncio
import contextlib
from typing import Any, Self, Unpack

from ._base import BaseClient
from ._errors import LockLost
from ._lock import BaseLock, Options


class AsyncLock(BaseLock):
    """Use it in `async with`: if the lock is lost, the body is cancelled and `LockLost` is raised."""

    _body_task: asyncio.Task[Any] | None = None
    _interrupted, _cancel_requests = False, 0

    async def acquire(self) -> Self:
        """Wait for the lock, and keep it until `release`. Raise `NotGranted` if others hold it for the whole wait."""
        loop = asyncio.get_running_loop()

        def on_lost() -> None:
            with contextlib.suppress(RuntimeError):  # The loop is closed.
                loop.call_soon_threadsafe(self._interrupt, lease)

        lease = self._new_lease(on_lost)
        acquired = self._client._submit(lease.acquire())
        try:
            await asyncio.wrap_future(acquired)
        except asyncio.CancelledError:
            self._client._loop.call_soon_threadsafe(lease.abandon)
            raise
        self._lease = lease
        return self

    async def release(self, **fields: Any) -> None:
        """Release the lock; `data="…"` stores a text with it. Raise `LockLost` if it was lost before."""
        lease, self._lease = self._held(), None
        await asyncio.shield(asyncio.wrap_future(self._client._submit(lease.release(fields))))

    async def heartbeat(self, **fields: Any) -> None:
        """Renew the lock now; `data="…"` stores another text with it."""
        lease = self._held()
        await asyncio.wrap_future(self._client._submit(lease.heartbeat(fields, lease.remaining())))

    def _interrupt(self, lease: object) -> None:
        if self._body_task and self._lease is lease:
            self._interrupted = True
            self._body_task.cancel()

    async def __aenter__(self) -> Self:
        await self.acquire()
        self._body_task, self._interrupted = asyncio.current_task(), False
        self._cancel_requests = self._body_task.cancelling() if self._body_task else 0
        return self

    async def __aexit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        task, self._body_task = self._body_task, None
        # Other code may have cancelled the body too.
        ours = self._interrupted and task is not None and task.uncancel() <= self._cancel_requests
        try:
            await self.release()
        except LockLost as lost:
            if error is None or (ours and isinstance(error, asyncio.CancelledError)):
                raise lost from error
            error.add_note(str(lost))


class AsyncClient(BaseClient):
    """Locks and permits for asyncio. Use it in `async with`, or `close` it."""

    def lock(self, key: str, **options: Unpack[Options]) -> AsyncLock:
        """A lock, not yet acquired."""
        return AsyncLock(self, "locks", key, options)

    def permit(self, semaphore: str, **options: Unpack[Options]) -> AsyncLock:
        """A permit of a semaphore, not yet acquired."""
        return AsyncLock(self, "semaphores", semaphore, options)

    async def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """Any other call, such as `call("PUT", "/semaphores/licences", {"max_size": 3})`."""
        return await asyncio.wrap_future(self._submit(self._call(method, path, body)))

    async def close(self) -> None:
        """Finish the releases that are under way, and end the client. Locks that it still holds are lost."""
        await asyncio.to_thread(self._end)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
