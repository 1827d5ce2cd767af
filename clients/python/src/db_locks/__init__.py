"""Locks and semaphores of a db-locks service: they renew themselves, and report when they are lost."""

from ._async import AsyncClient, AsyncLock
from ._errors import DbLocksError, LockLost, NotGranted, ProblemError, Unavailable
from ._threads import Client, Lock

__all__ = ["AsyncClient", "AsyncLock", "Client", "DbLocksError", "Lock"]
__all__ += ["LockLost", "NotGranted", "ProblemError", "Unavailable"]
