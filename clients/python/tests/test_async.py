"""The client for asyncio, against a real service."""

import asyncio
import time
from collections.abc import Coroutine
from typing import Any

import pytest
from conftest import LATE, Service

from db_locks import AsyncClient, AsyncLock, LockLost, NotGranted, ProblemError, Unavailable


def run(test: Coroutine[Any, Any, None]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(30):
            await test

    asyncio.run(bounded())


async def locked(client: AsyncClient, key: str) -> bool:
    return bool((await client.call("GET", f"/locks/{key}"))["locked"])


async def until_renewed(lock: AsyncLock) -> None:
    """Wait for a heartbeat to renew the lease. Raises `LockLost` if none does in time."""
    left = lock.remaining()
    while (now_left := lock.remaining()) <= left:
        lock.check()
        left = now_left
        await asyncio.sleep(0.01)


async def until_one_waits(client: AsyncClient, key: str) -> None:
    while (await client.call("GET", f"/locks/{key}"))["waiters"] == 0:
        await asyncio.sleep(0.01)


def test_the_body_holds_the_lock_and_gives_it_back(service: Service) -> None:
    async def test() -> None:
        async with AsyncClient(service.url) as client:
            async with client.lock("a/b ü", owner="first", data="half done") as lock:
                assert lock.fencing_token == 1
                assert 13 < lock.remaining() < 15
                assert lock.grant["owner"] == "first"
                assert lock.grant["data"] == "half done"
                with pytest.raises(NotGranted) as refused:
                    await client.lock("a/b ü", wait=0).acquire()
                assert [holder["owner"] for holder in refused.value.members["holders"]] == ["first"]
            async with client.lock("a/b ü", wait=0) as lock:
                assert lock.fencing_token == 2

    run(test())


def test_who_waits_is_granted_the_lock_when_it_is_released(service: Service) -> None:
    async def test() -> None:
        async with AsyncClient(service.url) as client:
            first = await client.lock("k").acquire()
            second = asyncio.create_task(client.lock("k", wait=20).acquire())
            await until_one_waits(client, "k")
            await first.release()
            await (await second).release()

    run(test())


def test_a_lock_outlives_its_lease_while_the_body_runs_even_if_it_blocks(service: Service) -> None:
    async def test() -> None:
        async with AsyncClient(service.url) as client, client.lock("k", lease=3) as lock:
            version = lock.grant["version"]
            time.sleep(4)  # noqa: ASYNC251 (a body that blocks its event loop)
            lock.check()
            assert (await client.call("GET", "/locks/k"))["version"] == version

    run(test())


@pytest.mark.parametrize("silent", [True, False])
def test_a_service_that_does_not_answer_costs_the_lock_before_the_lease_ends(service: Service, silent: bool) -> None:
    """The body is cancelled before the lease ends at the service, whether it is dead or only silent."""

    async def test() -> None:
        async with AsyncClient(service.url) as client:
            with pytest.raises(LockLost):
                async with client.lock("k", lease=4) as lock:
                    counted_on = time.monotonic() + lock.remaining()
                    assert counted_on < service.lease_end("k")
                    (service.pause if silent else service.kill)()
                    since = time.monotonic()
                    left = lock.remaining()
                    with pytest.raises(asyncio.CancelledError):
                        await asyncio.sleep(10)
                    assert left - 0.2 < time.monotonic() - since < left + LATE
                    assert lock.remaining() == 0
                    with pytest.raises(LockLost):
                        lock.check()
                    raise asyncio.CancelledError
            # The caller is notified at once; the release continues in the background.
            assert time.monotonic() - since < left + 2 * LATE
            service.resume()

    run(test())


def test_a_service_that_is_back_in_time_costs_nothing(service: Service) -> None:
    async def test() -> None:
        async with AsyncClient(service.url) as client, client.lock("k", lease=10) as lock:
            service.kill()
            # The first heartbeat is due after a third of the lease, and fails.
            await asyncio.sleep(3.6)
            service.start()
            await until_renewed(lock)

    run(test())


def test_the_service_says_that_the_grant_has_ended(service: Service) -> None:
    async def test() -> None:
        async with AsyncClient(service.url) as client:
            with pytest.raises(LockLost, match="version-mismatch") as lost:
                async with client.lock("k", lease=3) as lock:
                    await client.call("POST", "/locks/k/release", {"version": lock.grant["version"]})
                    await client.call("POST", "/locks/k/acquire", {"owner": "other"})
                    await asyncio.sleep(10)
            assert lost.value.key == "k"
            assert (await client.call("GET", "/locks/k"))["owner"] == "other"

    run(test())


def test_an_error_of_the_body_is_raised_and_the_lock_given_back(service: Service) -> None:
    async def test() -> None:
        async with AsyncClient(service.url) as client:
            with pytest.raises(ZeroDivisionError):
                async with client.lock("k"):
                    raise ZeroDivisionError
            assert not await locked(client, "k")

    run(test())


def test_a_body_that_is_cancelled_by_its_caller_stays_cancelled(service: Service) -> None:
    async def test() -> None:
        async with AsyncClient(service.url) as client:
            entered = asyncio.Event()

            async def body() -> None:
                async with client.lock("k"):
                    entered.set()
                    await asyncio.sleep(10)

            task = asyncio.create_task(body())
            await entered.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert not await locked(client, "k")
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await body()

    run(test())


def test_a_lost_lock_does_not_leave_its_task_cancelled(service: Service) -> None:
    async def test() -> None:
        async with AsyncClient(service.url) as client:
            with pytest.raises(LockLost):
                async with client.lock("k", lease=1.5):
                    service.pause()
                    await asyncio.sleep(10)
            service.resume()
            task = asyncio.current_task()
            assert task is not None
            assert task.cancelling() == 0
            await asyncio.sleep(0)

    run(test())


def test_cancelling_an_acquire_leaves_the_queue_and_holds_nothing(service: Service) -> None:
    async def test() -> None:
        async with AsyncClient(service.url) as client:
            holder = await client.lock("k").acquire()
            waiting = asyncio.create_task(client.lock("k", wait=20).acquire())
            await until_one_waits(client, "k")
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            await holder.release()
            async with client.lock("k", wait=5):
                pass
            # At any point of an acquire.
            for pause in (0, 0.001, 0.002, 0.004, 0.008):
                acquiring = asyncio.create_task(client.lock(f"k{pause}", lease=60).acquire())
                await asyncio.sleep(pause)
                acquiring.cancel()
                await asyncio.wait({acquiring})
                if acquiring.cancelled():
                    await (await client.lock(f"k{pause}", wait=5).acquire()).release()

    run(test())


def test_an_acquire_outlasts_a_restart_of_the_service(service: Service) -> None:
    async def test() -> None:
        async with AsyncClient(service.url) as client:
            await client.call("POST", "/locks/k/acquire", {"lease_duration_ms": 1500})
            waiting = asyncio.create_task(client.lock("k", wait=20).acquire())
            await until_one_waits(client, "k")
            service.kill()
            service.start()
            await (await waiting).release()

    run(test())


def test_the_next_url_is_asked_when_one_does_not_answer(service: Service, dead_url: str) -> None:
    async def test() -> None:
        async with AsyncClient(f"{dead_url},{service.url}") as client, client.lock("k", wait=0, lease=3) as lock:
            await until_renewed(lock)
        async with AsyncClient(dead_url) as client:
            with pytest.raises(Unavailable):
                await client.lock("k", wait=0).acquire()

    run(test())


def test_permits_of_a_semaphore(service: Service) -> None:
    async def test() -> None:
        async with AsyncClient(service.url) as client:
            with pytest.raises(ProblemError, match="not-found"):
                await client.permit("licences").acquire()
            await client.call("PUT", "/semaphores/licences", {"max_size": 2})
            async with client.permit("licences", data="one"), client.permit("licences"):
                with pytest.raises(NotGranted):
                    await client.permit("licences", wait=0).acquire()

    run(test())


def test_data_is_stored_with_the_lock(service: Service) -> None:
    async def test() -> None:
        async with AsyncClient(service.url) as client:
            async with client.lock("k", data="a") as lock:
                await lock.heartbeat(data="b")
                assert (await client.call("GET", "/locks/k"))["data"] == "b"
            lock = await client.lock("k").acquire()
            assert lock.grant["data"] == "b"
            await lock.release(data="c")
            assert (await client.call("GET", "/locks/k"))["data"] == "c"

    run(test())
