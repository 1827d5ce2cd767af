#!/usr/bin/env python3
"""A holder is paused past its lease and then writes: without the guard, and with it. Needs nothing but Python and db-locks.

Usage: paused_holder.py [PROGRAM]    PROGRAM is db-locks; by default it is built and run by cargo.
"""

import json
import pathlib
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

LEASE_MS = 1_000


def call(port: int, path: str, body: dict | None = None) -> dict:
    """Sends a request to the service."""
    data = None if body is None else json.dumps(body).encode()
    headers = {"content-type": "application/json"}
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", data, headers)
    with urllib.request.urlopen(request, timeout=30) as response:
        return json.load(response)


def withdraw(file: str, port: int, who: str, amount: int, guarded: bool, wait: bool) -> None:
    """Withdraws from the account under the lock: reads the balance, thinks, and writes the new one."""
    ask = {"owner": who, "guarded": guarded, "lease_duration_ms": LEASE_MS, "wait_ms": 30_000}
    grant = call(port, "/locks/account/acquire", ask)
    database = sqlite3.connect(file, isolation_level=None, timeout=10)
    (balance,) = database.execute("SELECT balance FROM account").fetchone()
    print(f"  {who} has the lock (token {grant['fencing_token']}) and reads a balance of {balance}", flush=True)
    if wait:
        # Here the process is stopped, as by a garbage collector, a full disk or a suspended machine.
        print("ready", file=sys.stderr, flush=True)
        sys.stdin.readline()
    try:
        database.execute("BEGIN IMMEDIATE")
        if guarded:
            database.execute("INSERT INTO db_locks_guard (key, version) VALUES (?, ?)", ("account", grant["version"]))
        database.execute("UPDATE account SET balance = ?", (balance - amount,))
        database.execute("COMMIT")
        print(f"  {who} withdraws {amount} and writes {balance - amount}", flush=True)
    except sqlite3.IntegrityError as error:
        database.execute("ROLLBACK")
        print(f"  {who} cannot write: {error}", flush=True)
    try:
        call(port, "/locks/account/release", {"version": grant["version"]})
    except urllib.error.HTTPError as error:
        print(f"  {who} cannot release: {json.load(error)['title']}", flush=True)


def demonstrate(file: str, port: int, guarded: bool) -> int:
    """Pauses one holder past its lease. Returns the balance that is left of 100."""
    database = sqlite3.connect(file, isolation_level=None, timeout=10)
    database.execute("CREATE TABLE IF NOT EXISTS account (balance INTEGER NOT NULL)")
    database.execute("DELETE FROM account")
    database.execute("INSERT INTO account VALUES (100)")
    command = [sys.executable, __file__, "holder", file, str(port), str(guarded)]
    pipes = {"stdin": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes) as holder:
        assert holder.stderr.readline() == "ready\n"
        holder.send_signal(signal.SIGSTOP)
        print("  (Ann is stopped, and her lease ends)", flush=True)
        withdraw(file, port, "Bob", 30, guarded, wait=False)
        print("  (Ann wakes up)", flush=True)
        holder.send_signal(signal.SIGCONT)
        holder.stdin.write("\n")
        holder.stdin.flush()
        assert holder.wait() == 0
    (balance,) = database.execute("SELECT balance FROM account").fetchone()
    database.close()
    return balance


def serve(program: list[str], file: str) -> tuple[subprocess.Popen, int]:
    """Starts the service and waits until it is ready."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    arguments = ["--listen", str(port), "--database-url", file, "--log", "warn"]
    service = subprocess.Popen(program + arguments)
    while service.poll() is None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/ready", timeout=5):
                return service, port
        except OSError:
            time.sleep(0.05)
    sys.exit("db-locks does not start")


def main() -> None:
    root = pathlib.Path(__file__).resolve().parents[2]
    program = sys.argv[1:2] or ["cargo", "run", "--quiet", "--manifest-path", str(root / "Cargo.toml"), "--"]
    with tempfile.TemporaryDirectory() as folder:
        file = f"{folder}/bank.sqlite"
        service, port = serve(program, file)
        try:
            print("With a lease alone:")
            balance = demonstrate(file, port, guarded=False)
            print(f"  100 - 30 - 50 came to {balance}: Bob's withdrawal is lost\n")
            assert balance == 50
            print("With the guard:")
            balance = demonstrate(file, port, guarded=True)
            print(f"  100 - 30 came to {balance}: Ann was notified, and can start again")
            assert balance == 70
        finally:
            service.terminate()
            service.wait()


if __name__ == "__main__":
    if sys.argv[1:2] == ["holder"]:
        file, port, guarded = sys.argv[2:]
        withdraw(file, int(port), "Ann", 50, guarded == "True", wait=True)
    else:
        main()
