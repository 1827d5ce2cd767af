"""The client for threads."""

import threading
from typing import Any, Self, Unpack

from ._base import BaseClient
from ._errors import LockLost
from ._lock import BaseLock, Options


class Lock(BaseLock):
    """Use it in `with`, or call `acquire` and `release`. A thread cannot be interrupted: look at `lost`, or `check`."""

    def __init__(self, client: BaseClient, kind: str, key: str, options: Options) -> None:
        super().__init__(client, kind, key, options)
        # Set when the lock is lost.
        self.lost = threading.Event()

    def acquire(self) -> Self:
        """Wait for the lock, and keep it until `release`. Raise `NotGranted` if others hold it for the whole wait."""
        self.lost = threading.Event()
        lease = self._new_lease(self.lost.set)
        acquired = self._client._submit(lease.acquire())
        try:
            acquired.result()
        except KeyboardInterrupt:
            acquired.cancel()
            self._client._loop.call_soon_threadsafe(lease.abandon)
            raise
        self._lease = lease
        return self

    def release(self, **fields: Any) -> None:
        """Release the lock; `data="…"` stores a text with it. Raise `LockLost` if it was lost before."""
        lease, self._lease = self._held(), None
        self._client._submit(lease.release(fields)).result()

    def heartbeat(self, **fields: Any) -> None:
        """Renew the lock now; `data="…"` stores another text with it."""
        lease = self._held()
        self._client._submit(lease.heartbeat(fields, lease.remaining())).result()

    def __enter__(self) -> Self:
        return self.acquire()

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        try:
            self.release()
        except LockLost as lost:
            if error is None:
                raise
            error.add_note(str(lost))


class Client(BaseClient):
    """Locks and permits for threads. Use it in `with`, or `close` it."""

    def lock(self, key: str, **options: Unpack[Options]) -> Lock:
        """A lock, not yet acquired."""
        return Lock(self, "locks", key, options)

    def permit(self, semaphore: str, **options: Unpack[Options]) -> Lock:
        """A permit of a semaphore, not yet acquired."""
        return Lock(self, "semaphores", semaphore, options)

    def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """Any other call, such as `call("PUT", "/semaphores/licences", {"max_size": 3})`."""
        return self._submit(self._call(method, path, body)).result()

    def close(self) -> None:
        """Finish the releases that are under way, and end the client. Locks that it still holds are lost."""
        self._end()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
