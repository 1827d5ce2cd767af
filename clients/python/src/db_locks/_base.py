"""Requests to the service, at one of several base URLs, in a thread of the client's own.

A program whose event loop or thread is busy keeps its locks.
"""

import asyncio
import getpass
import os
import random
import socket
import ssl
import threading
import time
from collections.abc import Coroutine, Sequence
from concurrent.futures import Future
from typing import Any, TypeVar
from urllib.parse import quote

import httpx

from ._errors import NotGranted, ProblemError, Unavailable

T = TypeVar("T")
# The clock that also runs while the machine is suspended: CLOCK_BOOTTIME on Linux, CLOCK_MONOTONIC on macOS.
_CLOCK: int | None = getattr(time, "CLOCK_BOOTTIME", getattr(time, "CLOCK_MONOTONIC", None))


def now() -> float:
    """Seconds on a clock that never steps, and also runs while the machine is suspended."""
    return time.monotonic() if _CLOCK is None else time.clock_gettime(_CLOCK)


def backoff(failures: int) -> float:
    """The pause after this number of failures in a row, in seconds: at most one, with jitter."""
    return min(1.0, 0.05 * 2.0 ** min(failures, 10)) * random.uniform(0.5, 1.0)  # noqa: S311 (no secret)


def path(kind: str, key: str) -> str:
    """The path of a key. URLs cannot express `.` and `..`, and the service refuses them."""
    if key in ("", ".", ".."):
        raise ValueError(f"not a key: {key!r}")
    return f"/{kind}/{quote(key, safe='')}"


class BaseClient:
    """The settings of the connection. `url` may be several URLs, separated by commas."""

    def __init__(
        self,
        url: str | Sequence[str] | None = None,
        *,
        token: str | None = None,
        tenant: str | None = None,
        owner: str | None = None,
        timeout: float = 5.0,
        verify: ssl.SSLContext | bool = True,
    ) -> None:
        url = url or os.environ.get("DB_LOCKS_URL") or "http://127.0.0.1:8080"
        listed = url.split(",") if isinstance(url, str) else url
        self._urls = [httpx.URL(one.strip().rstrip("/")) for one in listed if one.strip()]
        if not self._urls or any(one.scheme not in ("http", "https") for one in self._urls):
            raise ValueError("the service's URL has to begin with http:// or https://")
        self._owner = owner or f"{getpass.getuser()}@{socket.gethostname()}:{os.getpid()}"[:255]
        self._timeout = timeout
        headers = {"X-Tenant": tenant or os.environ.get("DB_LOCKS_TENANT") or "default"}
        if token := token or os.environ.get("DB_LOCKS_TOKEN"):
            headers["Authorization"] = f"Bearer {token}"
        # Heartbeats must never queue behind acquires that wait: no bound on connections. Proxies of the environment
        # are meant for the web: they buffer, and hide that a caller hung up.
        http = httpx.AsyncHTTPTransport(
            verify=verify,
            trust_env=False,
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=20),
            socket_options=[(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1), (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)],
        )
        self._http = httpx.AsyncClient(headers=headers, transport=http, trust_env=False)
        self._preferred = 0
        self._releases: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="db-locks", daemon=True)
        self._thread.start()

    def _submit(self, work: Coroutine[Any, Any, T]) -> "Future[T]":
        """Start work in the client's thread."""
        if not self._thread.is_alive():
            work.close()
            raise RuntimeError("the client is closed, or was made before a fork")
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    async def _once(
        self, method: str, path: str, body: dict[str, Any] | None, timeout: float
    ) -> tuple[float, dict[str, Any]]:
        """Send a request once. Return the time just before that, and the answer. The timeout covers everything."""
        url, sent = self._urls[self._preferred], now()
        try:
            async with asyncio.timeout(timeout):
                limits = httpx.Timeout(None, connect=2.0)
                response = await self._http.request(method, f"{url}{path}", json=body, timeout=limits)
            document = response.json() if response.content else {}
            if not isinstance(document, dict):
                raise ValueError("the answer is not a JSON object")  # noqa: TRY004, TRY301
            if response.is_success:
                return sent, document
            problem = ProblemError(response.status_code, document)
            if response.status_code < 500:
                raise NotGranted(423, document) if response.status_code == 423 else problem
            why = str(problem)
        except (httpx.RequestError, TimeoutError, ValueError) as error:
            why = str(error) or "no answer in time"
        # Another failed request may have moved on to the next URL already.
        if url == self._urls[self._preferred]:
            self._preferred = (self._preferred + 1) % len(self._urls)
        raise Unavailable(f"{method} {path} at {url.netloc.decode()}: {why}")

    async def _call(self, method: str, path: str, body: dict[str, Any] | None) -> dict[str, Any]:
        """Send a request that may be repeated, at most twice to each URL."""
        for failures in range(2 * len(self._urls) - 1):
            try:
                return (await self._once(method, path, body, self._timeout))[1]
            except Unavailable:
                await asyncio.sleep(backoff(failures))
        return (await self._once(method, path, body, self._timeout))[1]

    async def _close(self) -> None:
        if self._releases:
            await asyncio.wait(self._releases, timeout=self._timeout)
        # Locks that are still held are lost, since nothing renews them any more.
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._http.aclose()

    def _end(self) -> None:
        if self._thread.is_alive():
            self._submit(self._close()).result()
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()
