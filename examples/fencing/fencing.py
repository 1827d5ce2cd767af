#!/usr/bin/env python3
"""Fencing tokens beyond the database: an object store, an HTTP API, a message queue. docs/fencing.md shows the functions.

Usage: fencing.py URL    URL is a db-locks service. Each resource is written by the newer holder, then by the late one.
"""

import json
import sqlite3
import sys
import urllib.request
from dataclasses import dataclass


class Late(Exception):
    """A newer holder has written."""


@dataclass
class Stored:
    """What an object store has under a name: `etag` changes with each write."""

    etag: int
    token: int
    data: str


class ObjectStore:
    """A store with conditional writes, as S3, GCS and Azure have them (If-Match, if-generation-match)."""

    def __init__(self) -> None:
        self.objects: dict[str, Stored] = {}

    def get(self, name: str) -> Stored | None:
        return self.objects.get(name)

    def put_if(self, name: str, data: str, token: int, etag: int | None) -> bool:
        current = self.objects.get(name)
        if (current.etag if current else None) != etag:
            return False
        self.objects[name] = Stored((etag or 0) + 1, token, data)
        return True


def put_object(store: ObjectStore, name: str, data: str, token: int) -> None:
    while True:
        current = store.get(name)
        if current and current.token > token:
            raise Late
        if store.put_if(name, data, token, current.etag if current else None):
            return


def put_by_api(database: sqlite3.Connection, name: str, value: str, token: int) -> int:
    """Answers a PUT whose header Fencing-Token is `token`: one statement compares and writes."""
    written = database.execute(
        "INSERT INTO resource (name, value, token) VALUES (?, ?, ?) ON CONFLICT (name) DO UPDATE "
        "SET value = excluded.value, token = excluded.token WHERE excluded.token >= resource.token",
        (name, value, token),
    )
    return 204 if written.rowcount == 1 else 412


class Consumer:
    """Reads a queue that may deliver late, and twice."""

    def __init__(self) -> None:
        self.newest: dict[str, int] = {}
        self.done: list[str] = []

    def receive(self, message: dict) -> bool:
        if message["token"] < self.newest.get(message["key"], 0):
            return False
        self.newest[message["key"]] = message["token"]
        self.done.append(message["body"])
        return True


def call(url: str, body: dict) -> dict:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as response:
        return json.load(response)


def main() -> None:
    lock = f"{sys.argv[1]}/locks/fencing-example"
    tokens = []
    for owner in ("first", "second"):
        grant = call(f"{lock}/acquire", {"owner": owner})
        tokens.append(grant["fencing_token"])
        call(f"{lock}/release", {"version": grant["version"]})
    old, new = tokens
    assert old < new

    store = ObjectStore()
    put_object(store, "report", "new", new)
    try:
        put_object(store, "report", "old", old)
        sys.exit("a late holder wrote to the object store")
    except Late:
        pass
    assert store.get("report").data == "new"

    database = sqlite3.connect(":memory:")
    database.execute("CREATE TABLE resource (name TEXT PRIMARY KEY, value TEXT NOT NULL, token INTEGER NOT NULL)")
    answers = [put_by_api(database, "report", "new", new), put_by_api(database, "report", "old", old)]
    assert answers == [204, 412], answers
    assert put_by_api(database, "report", "newer", new) == 204, "a holder may write more than once"

    consumer = Consumer()
    assert consumer.receive({"key": "report", "token": new, "body": "new"})
    assert not consumer.receive({"key": "report", "token": old, "body": "old"})
    assert consumer.done == ["new"]
    print(f"token {old} was refused after token {new}: by the object store, the HTTP API and the consumer")


if __name__ == "__main__":
    main()
