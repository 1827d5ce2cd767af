"""The common parts of the locks of both clients."""

from collections.abc import Callable
from typing import Any, TypedDict

from ._base import BaseClient
from ._lease import Lease


class Options(TypedDict, total=False):
    """The options of `lock` and `permit`. Times are in seconds."""

    wait: float  # In the queue; 0 tries once, `math.inf` never gives up. Default: as long as the lease.
    lease: float  # How long the lock stays held after the last heartbeat. Default: 15.
    owner: str  # Shown to others. Default: the client's.
    data: str  # Text to store with the lock, in place of the stored text.
    guarded: bool  # Whether transactions of the database can be guarded by the lock.


class BaseLock:
    """A lock or a permit, for one holder at a time."""

    def __init__(self, client: BaseClient, kind: str, key: str, options: Options) -> None:
        self.key = key
        self._client, self._kind = client, kind
        self._lease: Lease | None = None
        lease = options.get("lease", 15.0)
        self._wait = options.get("wait", lease)
        self._body: dict[str, Any] = {"owner": client._owner, "lease_duration_ms": max(1, round(lease * 1000))}
        self._body |= {name: value for name, value in options.items() if name in ("owner", "data", "guarded")}
        if "data" in options and kind == "locks":
            self._body["replace_data"] = True

    def _new_lease(self, on_lost: Callable[[], object]) -> Lease:
        if self._lease:
            raise RuntimeError(f"lock {self.key!r} is acquired already: use one object for each holder")
        return Lease(self._client, self._kind, self.key, self._body, self._wait, on_lost)

    def _held(self) -> Lease:
        if self._lease is None:
            raise RuntimeError(f"lock {self.key!r} is not acquired")
        return self._lease

    @property
    def grant(self) -> dict[str, Any]:
        """The grant in the last answer of the service: `version`, `owner`, `data` and so on."""
        return self._held().grant

    @property
    def version(self) -> str:
        """The identity of the grant: the argument of `db_locks_guard`."""
        return str(self.grant["version"])

    @property
    def fencing_token(self) -> int:
        """A number that grows with every grant of the key. The system that you write to should refuse lower ones."""
        return int(self.grant["fencing_token"])

    def remaining(self) -> float:
        """How many seconds the lock is certainly held if it is not renewed."""
        return self._lease.remaining() if self._lease else 0.0

    def check(self) -> None:
        """Raise `LockLost` unless the lock is held at this moment."""
        self._held().check()
