"""The errors of this package."""

from collections.abc import Mapping
from typing import Any


class DbLocksError(Exception):
    """The base of all errors of this package."""


class LockLost(DbLocksError):  # noqa: N818 (the name says what happened)
    """The lock is no longer held, or it is unknown whether it is."""

    def __init__(self, key: str, problem: "ProblemError | None" = None) -> None:
        super().__init__(f"lock {key!r} is lost: {problem or 'it was not renewed in time'}")
        self.key, self.problem = key, problem


class Unavailable(DbLocksError):  # noqa: N818
    """No answer, or an answer to try again later. The service may have carried out the request."""


class ProblemError(DbLocksError):
    """An error that the service answered, with the members of its problem document (RFC 9457)."""

    def __init__(self, status: int, members: Mapping[str, Any]) -> None:
        self.status, self.members = status, dict(members)
        # The last part of `type`, such as `version-mismatch`.
        self.name = str(members.get("type", "")).rsplit("/", 1)[-1]
        super().__init__(f"{status} {self.name}: {members.get('detail', '')}")


class NotGranted(ProblemError):  # noqa: N818
    """Others held the lock for the whole wait. `members["holders"]` names them."""
