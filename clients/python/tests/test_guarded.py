"""Guarded locks: a transaction of the database passes with the version of a grant that counts."""

import asyncio
import contextlib
import sqlite3
from collections.abc import Iterator

import pytest
from conftest import Service

from db_locks import AsyncClient, Client


@contextlib.contextmanager
def database_of(service: Service) -> Iterator[sqlite3.Connection]:
    with contextlib.closing(sqlite3.connect(service.file, isolation_level=None, timeout=10)) as database:
        database.execute("CREATE TABLE account (amount INTEGER NOT NULL)")
        yield database


def deposit(database: sqlite3.Connection, key: str, version: str) -> None:
    with database:
        database.execute("BEGIN IMMEDIATE")
        database.execute("INSERT INTO db_locks_guard (key, version) VALUES (?, ?)", (key, version))
        database.execute("INSERT INTO account VALUES (100)")


def deposits(database: sqlite3.Connection) -> int:
    count = database.execute("SELECT count(*) FROM account").fetchone()[0]
    return int(count)


def test_a_transaction_passes_until_the_release(service: Service) -> None:
    with Client(service.url) as client, database_of(service) as database:
        with client.lock("k", guarded=True) as lock:
            assert lock.grant["guarded"] is True
            version = lock.version
            deposit(database, "k", version)
        with pytest.raises(sqlite3.IntegrityError, match="DL001"):
            deposit(database, "k", version)
        with client.lock("plain") as lock, pytest.raises(sqlite3.IntegrityError, match="DL001"):
            assert lock.grant["guarded"] is False
            deposit(database, "plain", lock.version)
        assert deposits(database) == 1


def test_a_transaction_passes_until_the_release_with_asyncio(service: Service) -> None:
    async def test(database: sqlite3.Connection) -> None:
        async with AsyncClient(service.url) as client:
            await client.call("PUT", "/semaphores/s", {"max_size": 2, "guarded": True})
            async with client.lock("k", guarded=True) as lock, client.permit("s") as permit:
                assert permit.grant["guarded"] is True
                versions = {"k": lock.version, "s": permit.version}
                for key, version in versions.items():
                    deposit(database, key, version)
            for key, version in versions.items():
                with pytest.raises(sqlite3.IntegrityError, match="DL001"):
                    deposit(database, key, version)

    with database_of(service) as database:
        asyncio.run(test(database))
        assert deposits(database) == 2
