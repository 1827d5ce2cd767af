"""Uses the Python client that `openapi-python-client` generates, as a program would, against a running service.

The client is in `db_locks_client`, exactly as it was generated. Takes the service's URL. `mypy --strict` checks both.
"""

import sys
import threading
import time
import uuid

from db_locks_client import Client
from db_locks_client.api.deletion import delete_semaphore
from db_locks_client.api.locks import acquire_lock, get_lock, heartbeat_lock, release_lock
from db_locks_client.api.semaphores import acquire_permit, get_semaphore, put_semaphore, release_permit
from db_locks_client.models import (
    AcquireLockBody,
    AcquirePermitBody,
    Grant,
    HeartbeatBody,
    InUseProblem,
    NotGrantedProblem,
    PutSemaphoreBody,
    ReleaseLockBody,
    ReleasePermitBody,
    Semaphore,
    VersionMismatchProblem,
)


def version_of(grant: Grant) -> uuid.UUID:
    assert grant.locked and grant.version is not None, grant
    return grant.version


def acquire_heartbeat_release(client: Client) -> None:
    """A lock is taken, kept and given back; another caller learns who holds it."""
    key = f"python/{uuid.uuid4()}"
    grant = acquire_lock.sync(key, client=client, body=AcquireLockBody(owner="first", lease_duration_ms=60_000))
    assert isinstance(grant, Grant), grant
    version = version_of(grant)

    answer = acquire_lock.sync_detailed(key, client=client, body=AcquireLockBody(owner="second", wait_ms=0))
    assert answer.status_code == 423 and int(answer.headers["Retry-After"]) >= 1, answer
    assert isinstance(answer.parsed, NotGrantedProblem), answer
    assert answer.parsed.reason == "no_wait", answer
    assert [holder.owner for holder in answer.parsed.holders] == ["first"], answer

    kept = heartbeat_lock.sync(key, client=client, body=HeartbeatBody(version=version, data="half done"))
    assert isinstance(kept, Grant) and kept.data == "half done", kept
    refused = heartbeat_lock.sync(key, client=client, body=HeartbeatBody(version=uuid.uuid4()))
    assert isinstance(refused, VersionMismatchProblem), refused

    released = release_lock.sync(key, client=client, body=ReleaseLockBody(version=version))
    assert isinstance(released, Grant) and not released.locked and released.version is None, released
    seen = get_lock.sync(key, client=client)
    assert isinstance(seen, Grant) and seen.fencing_token == grant.fencing_token, seen


def until_one_waits(client: Client, key: str) -> None:
    for _ in range(600):
        seen = get_lock.sync(key, client=client)
        assert isinstance(seen, Grant), seen
        if seen.waiters == 1:
            return
        time.sleep(0.05)
    raise AssertionError(seen)


def wait(client: Client) -> None:
    """A waiting caller gets the lock when it is released, with a higher fencing token."""
    key = f"python/{uuid.uuid4()}"
    # Without a body every field has its default.
    held = acquire_lock.sync(key, client=client)
    assert isinstance(held, Grant) and held.owner == "anonymous", held
    answers: list[object] = []
    body = AcquireLockBody(owner="waiter", wait_ms=30_000)
    waiter = threading.Thread(target=lambda: answers.append(acquire_lock.sync(key, client=client, body=body)))
    waiter.start()
    until_one_waits(client, key)
    assert not answers, answers
    release_lock.sync(key, client=client, body=ReleaseLockBody(version=version_of(held)))
    waiter.join()
    [granted] = answers
    assert isinstance(granted, Grant) and granted.owner == "waiter", granted
    assert granted.fencing_token > held.fencing_token, (granted, held)
    release_lock.sync(key, client=client, body=ReleaseLockBody(version=version_of(granted), delete_lock=True))


def permits(client: Client) -> None:
    """A semaphore has as many permits as it was created with."""
    key = f"python/{uuid.uuid4()}"
    made = put_semaphore.sync(key, client=client, body=PutSemaphoreBody(max_size=1))
    assert isinstance(made, Semaphore) and made.max_size == 1, made
    permit = acquire_permit.sync(key, client=client, body=AcquirePermitBody(owner="worker"))
    assert isinstance(permit, Grant) and permit.semaphore_key == key, permit
    refused = acquire_permit.sync(key, client=client, body=AcquirePermitBody(wait_ms=0))
    assert isinstance(refused, NotGrantedProblem), refused
    assert isinstance(delete_semaphore.sync(key, client=client), InUseProblem)
    seen = get_semaphore.sync(key, client=client)
    assert isinstance(seen, Semaphore) and seen.busy_count == 1, seen
    release_permit.sync(key, client=client, body=ReleasePermitBody(version=version_of(permit)))
    assert delete_semaphore.sync_detailed(key, client=client).status_code == 204


def main() -> None:
    with Client(base_url=sys.argv[1], raise_on_unexpected_status=True) as client:
        client.get_httpx_client().timeout = 60
        for check in (acquire_heartbeat_release, wait, permits):
            check(client)
            print(f"python client: {check.__name__} ok")


if __name__ == "__main__":
    main()
