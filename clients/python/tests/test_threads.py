"""The client for threads, against a real service, and what needs none."""

import pathlib
import re
import subprocess
import sys
import threading
import time

import pytest
from conftest import LATE, Service

from db_locks import AsyncClient, Client, LockLost, NotGranted, _base


def test_the_body_holds_the_lock_and_gives_it_back(service: Service) -> None:
    with Client(service.url, tenant="acme", owner="me") as client:
        with client.lock("k", lease=3) as lock:
            time.sleep(4)
            lock.check()
            assert lock.grant["tenant"] == "acme"
            assert lock.grant["owner"] == "me"
            with pytest.raises(NotGranted):
                client.lock("k", wait=0.1).acquire()
            with pytest.raises(RuntimeError, match="acquired already"):
                lock.acquire()
        with pytest.raises(RuntimeError, match="not acquired"):
            lock.check()
        with lock:
            assert lock.fencing_token == 2


def test_threads_take_turns(service: Service) -> None:
    inside = most = 0
    with Client(service.url) as client:

        def work() -> None:
            nonlocal inside, most
            for _ in range(5):
                with client.lock("k", wait=20):
                    inside += 1
                    most = max(most, inside)
                    time.sleep(0.002)
                    inside -= 1

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert client.call("GET", "/locks/k")["fencing_token"] == 40
    assert most == 1


def test_a_lost_lock_says_so_before_its_lease_ends_and_at_the_end(service: Service) -> None:
    with Client(service.url) as client:
        with pytest.raises(LockLost), client.lock("k", lease=4) as lock:
            counted_on = time.monotonic() + lock.remaining()
            assert counted_on < service.lease_end("k")
            service.pause()
            assert lock.lost.wait(4 + LATE)
            assert lock.remaining() == 0
        service.resume()


def test_a_pause_of_the_machine_counts(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """Timers stand still while the machine is suspended, the lease does not: the clock decides."""
    with Client(service.url) as client:
        with pytest.raises(LockLost), client.lock("k", lease=60) as lock:
            real = _base.now
            monkeypatch.setattr("db_locks._lease.now", lambda: real() + 61)
            with pytest.raises(LockLost):
                lock.check()
            assert lock.lost.wait(1)
            # A lost lock stays lost.
            monkeypatch.setattr("db_locks._lease.now", real)
            assert lock.remaining() == 0


def test_an_error_of_the_body_is_raised_with_a_note_that_the_lock_was_lost(service: Service) -> None:
    with Client(service.url) as client:
        with pytest.raises(ZeroDivisionError) as raised, client.lock("k", lease=1.5) as lock:
            service.kill()
            lock.lost.wait(5)
            raise ZeroDivisionError
        assert "is lost" in raised.value.__notes__[0]


def test_a_closed_client_says_so(service: Service) -> None:
    client = Client(service.url)
    client.close()
    client.close()
    with pytest.raises(RuntimeError, match="closed"):
        client.lock("k").acquire()


@pytest.mark.parametrize("url", ["postgres://user:secret@host/db", "ftp://x", " , "])
def test_a_url_that_is_none_is_refused_without_showing_it(url: str) -> None:
    with pytest.raises(ValueError, match="http") as refused:
        AsyncClient(url)
    assert "secret" not in str(refused.value)


def test_keys_that_a_url_cannot_express_are_refused(service: Service) -> None:
    with Client(service.url) as client:
        for key in ("", ".", ".."):
            with pytest.raises(ValueError, match="not a key"):
                client.lock(key).acquire()


README = pathlib.Path(__file__).parents[1] / "README.md"


@pytest.mark.parametrize("example", re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL))
def test_the_examples_of_the_readme_run(service: Service, example: str) -> None:
    assert "http://127.0.0.1:8080" in example
    subprocess.run([sys.executable, "-c", example.replace("http://127.0.0.1:8080", service.url)], check=True)
