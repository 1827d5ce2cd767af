"""A service of its own for each test: the real binary on a SQLite file."""

import os
import pathlib
import signal
import socket
import subprocess
import time
from collections.abc import Iterator

import httpx
import pytest

# How late a busy machine may run a thread, in seconds.
LATE = 2.0
ROOT = pathlib.Path(__file__).resolve().parents[3]


class Service:
    """A db-locks process."""

    def __init__(self, folder: pathlib.Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.file = folder / "locks.sqlite"
        self.start()

    def start(self) -> None:
        """Start it, and wait until it is ready."""
        variables = {
            **os.environ,
            "DATABASE_URL": f"sqlite://{self.file}?mode=rwc",
            "DB_LOCKS_LISTEN": f"127.0.0.1:{self.port}",
            "DB_LOCKS_LOG": "warn",
        }
        binary = os.environ.get("BIN") or ROOT / "target/debug/db-locks"
        self._process = subprocess.Popen([binary], env=variables)
        give_up = time.monotonic() + 30
        while time.monotonic() < give_up:
            try:
                if httpx.get(f"{self.url}/ready", trust_env=False).is_success:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.02)
        raise TimeoutError("the service is not ready")

    def lease_end(self, key: str) -> float:
        """A time before which the lease certainly does not end. The fastest of some answers shows the latest one."""
        ends: list[float] = []
        with httpx.Client(trust_env=False) as http:
            for _ in range(10):
                asked = time.monotonic()
                ends.append(asked + http.get(f"{self.url}/locks/{key}").json()["expires_in_ms"] / 1000)
        return max(ends)

    def pause(self) -> None:
        """It does not answer any more, while its connections stay open."""
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()
        self._process.wait()


@pytest.fixture(autouse=True)
def without_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DB_LOCKS_URL", "DB_LOCKS_TOKEN", "DB_LOCKS_TENANT"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def service(tmp_path: pathlib.Path) -> Iterator[Service]:
    service = Service(tmp_path)
    yield service
    service.kill()


@pytest.fixture
def dead_url() -> str:
    """A URL at which nothing listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"
