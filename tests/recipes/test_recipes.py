"""Each recipe, run as it is written."""

import contextlib
import http.server
import json
import os
import pathlib
import shlex
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest
import yaml
from conftest import Recipe


def test_cron__one_host_runs_the_job(recipe: Recipe) -> None:
    lines = recipe.code("cron").splitlines()
    [job] = [line for line in lines if line.startswith("*")]
    assert any(line == f"DB_LOCKS_URL={recipe.url}" for line in lines)
    command = job.split(None, 6)[6]
    recipe.exclusive_program("send-mailing")
    recipe.at_once(command, 3)
    # Its time of holding is not over.
    recipe.at_once(command, 1)
    assert recipe.runs() == 1


def test_github_actions__deployments_take_turns(recipe: Recipe) -> None:
    workflow = yaml.safe_load(recipe.code("yaml"))
    [deploy] = [step["run"] for step in workflow["jobs"]["deploy"]["steps"] if "run" in step]
    recipe.exclusive_program("deploy.sh")
    recipe.environment["GITHUB_REPOSITORY"] = "acme/shop"
    recipe.at_once(deploy, 4)
    assert recipe.runs() == 4
    lock = json.loads(recipe.run("db-locks get deploy/production --json"))
    assert lock["fencing_token"] == 4


@contextlib.contextmanager
def leaders(recipe: Recipe, command: str) -> Iterator[list["subprocess.Popen[str]"]]:
    processes = [recipe.start(command) for _ in range(2)]
    try:
        yield processes
    finally:
        for process in processes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def other_leads_after_the_first_is_killed(recipe: Recipe, key: str, command: str) -> None:
    with leaders(recipe, command) as processes:
        deadline = time.monotonic() + 30
        while not (owner := leader(recipe, key)) and time.monotonic() < deadline:
            time.sleep(0.05)
        [first] = [process for process in processes if process.pid in ancestors(owner)]
        os.killpg(first.pid, signal.SIGKILL)
        while leader(recipe, key) in (0, owner):
            assert time.monotonic() < deadline, "nobody else leads"
            time.sleep(0.05)


def leader(recipe: Recipe, key: str) -> int:
    """The process that leads; 0 if none does."""
    locks = json.loads(recipe.run("db-locks list --locked --json"))["items"]
    owners = [lock["owner"] for lock in locks if lock["key"] == key]
    return int(owners[0].rsplit(":", 1)[1]) if owners else 0


def ancestors(pid: int) -> list[int]:
    """A process and those that started it."""
    found = []
    while pid > 1:
        found.append(pid)
        pid = int(pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
    return found


def test_leader__another_one_leads_when_it_is_killed(recipe: Recipe) -> None:
    script = recipe.code("sh")
    assert "--lease 10s" in script
    (recipe.folder / "leader.sh").write_text(script.replace("--lease 10s", "--lease 1s"))
    other_leads_after_the_first_is_killed(recipe, "leader", "exec bash leader.sh sleep 60")


def test_leader__from_python(recipe: Recipe) -> None:
    program = recipe.code("python")
    assert "lease=10" in program
    (recipe.folder / "leader.py").write_text(program.replace("lease=10", "lease=1").replace('"leader"', '"leader.py"'))
    other_leads_after_the_first_is_killed(recipe, "leader.py", f"exec {shlex.quote(sys.executable)} leader.py")


def test_licences__three_at_a_time(recipe: Recipe) -> None:
    put, run, permits = [line for line in recipe.code("sh").splitlines() if line.startswith("db-locks")]
    recipe.run(put)
    recipe.program("simulate", "db-locks permits licences --json >> seats; sleep 0.2; echo >> runs")
    recipe.at_once(run, 8)
    assert recipe.runs() == 8
    seats = [json.loads(line)["items"] for line in (recipe.folder / "seats").read_text().splitlines()]
    assert max(map(len, seats)) == 3
    recipe.run(permits)


def test_kubernetes_init_container__one_migrates_at_a_time(recipe: Recipe) -> None:
    (recipe.folder / "deployment.yaml").write_text(recipe.code("yaml"))
    recipe.run("kubernetes-validate --strict deployment.yaml")
    pod = yaml.safe_load(recipe.code("yaml"))["spec"]["template"]["spec"]
    bring, migrate = (container["command"] for container in pod["initContainers"])
    assert f"{bring[2]}db-locks" == migrate[0]
    command = shlex.join(migrate).replace("/tools/", "").replace("/app/", "./")
    recipe.exclusive_program("migrate")
    recipe.at_once(command, 3)
    assert recipe.runs() == 3


def test_queue_worker__a_paused_one_writes_nothing(recipe: Recipe) -> None:
    file, program = os.environ["LOCKS_FILE"], recipe.code("python")
    assert "lease=10" in program
    (recipe.folder / "worker.py").write_text(program.replace("lease=10", "lease=1"))
    jobs = sqlite3.connect(file, isolation_level=None, timeout=10)
    jobs.executescript(recipe.code("sql"))
    jobs.executemany("INSERT INTO jobs (text) VALUES (?)", [(text,) for text in ("a", "b", "c")])
    # The first one takes as long as the test wants.
    (recipe.folder / "wait").touch()
    recipe.program("render", 'echo "$1" >> started; while [ -e wait ]; do sleep 0.02; done; echo "$1 by $PPID"')

    def until(what: str, happened: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 30
        while not happened():
            assert time.monotonic() < deadline, what
            time.sleep(0.05)

    command = f"exec {shlex.quote(sys.executable)} worker.py"
    first = recipe.start(command, JOBS=file)
    try:
        until("a job is begun", (recipe.folder / "started").exists)
        first.send_signal(signal.SIGSTOP)
        (recipe.folder / "wait").unlink()
        second = recipe.start(command, JOBS=file)
        try:
            until("the other one does all jobs", lambda: not jobs.execute("SELECT * FROM jobs").fetchall())
            first.send_signal(signal.SIGCONT)
            assert first.stdout is not None
            assert first.stdout.readline().startswith("DL001")
            results = jobs.execute("SELECT result FROM results ORDER BY id").fetchall()
            assert results == [(f"{text} by {second.pid}\n",) for text in ("a", "b", "c")]
        finally:
            second.kill()
            second.wait()
    finally:
        first.kill()
        first.wait()


class States(http.server.BaseHTTPRequestHandler):
    """Keeps one state of Terraform."""

    state = b""

    def do_GET(self) -> None:
        self.send_response(200 if States.state else 404)
        self.send_header("Content-Length", str(len(States.state)))
        self.end_headers()
        self.wfile.write(States.state)

    def do_POST(self) -> None:
        States.state = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.mark.skipif(not shutil.which("terraform"), reason="NOT RUN: terraform is not installed, and no registry has it")
def test_terraform__a_state_is_locked_while_it_is_worked_on(recipe: Recipe) -> None:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), States)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    main = recipe.code("hcl").replace("https://states.example.com", f"http://127.0.0.1:{server.server_port}")
    (recipe.folder / "main.tf").write_text(main)
    recipe.environment |= {"TF_IN_AUTOMATION": "1", "CHECKPOINT_DISABLE": "1", "TF_CLI_CONFIG_FILE": os.devnull}
    recipe.run("terraform init")
    # While it applies, the lock is its own.
    recipe.run("terraform apply -auto-approve")
    assert b"hello" in States.state
    lock = json.loads(recipe.run("db-locks get production --json"))
    assert lock["locked"] is False
    assert json.loads(lock["data"])["Operation"] == "OperationTypeApply"

    info = json.dumps({"ID": "somebody", "Who": "ann@build-7", "Operation": "OperationTypePlan"})
    recipe.run(f"curl -f -X LOCK --json {shlex.quote(info)} {recipe.url}/terraform/production")
    refused = recipe.start("terraform plan 2>&1")
    output, _ = refused.communicate(timeout=60)
    assert refused.returncode != 0
    assert "somebody" in output
    recipe.run(recipe.code("sh"), ID="somebody")
    recipe.run("terraform plan")
    server.shutdown()
