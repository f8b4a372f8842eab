"""The real process under test: build/subpay in a folder of its own, on free ports, a child of the test."""
import contextlib
import http.client
import json
import os
import re
import select
import shutil
import signal
import sqlite3
import subprocess
import tempfile
import time
import uuid
from pathlib import Path

import distributed
import pytest
from children import die_with

ROOT = Path(__file__).resolve().parents[1]
BINARY = Path(os.environ.get("SUBPAY_BINARY", ROOT / "build" / "subpay"))
LOAD = ROOT / "build" / "bench" / "load"
READY_S = 30
REST_S = 60


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    @property
    def json(self):
        return json.loads(self.body)

    def __repr__(self):
        return f"<{self.status} {self.body[:300]!r}>"


@contextlib.contextmanager
def kept_folder(name):
    """A folder that is said, and removed at the end; kept when something is wrong."""
    folder = tempfile.mkdtemp(prefix=f"subpay-{name}.")
    print(f"in {folder}", flush=True)
    yield folder
    shutil.rmtree(folder)


def until(condition, what, seconds=REST_S):
    """Waits for a condition by looking, not by sleeping a guess; returns what it returned."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"after {seconds} s still not: {what}"
        time.sleep(0.02)


class Subpay:
    SECRET = "flow-tests-flow-tests-flow-tests-flow"

    def __init__(self, folder, partitions=3, server=None, broker=None, **environment):
        self.folder = Path(folder)
        self.data = self.folder / "data"
        self.environment = {"PATH": os.environ["PATH"], "DATA_DIR": str(self.data),
                            "JWT_SECRET_KEY": self.SECRET, "SUBSCRIPTION_APP_LISTEN": "127.0.0.1:0",
                            "PROCESSING_LISTEN": "127.0.0.1:0", "OPS_LISTEN": "127.0.0.1:0",
                            "PROCESSING_LATENCY_MS": "0-5", "PROCESSING_OUTCOMES": "success=1",
                            **{k: str(v) for k, v in environment.items()}}
        self.engines, self.topic = None, "payments"
        if distributed.ON:
            self.engines = distributed.Engines(BINARY, partitions, server, broker)
            self.topic = self.engines.topic
            self.environment = {**self.engines.environment, **self.environment}
        for name in ("ASAN_OPTIONS", "UBSAN_OPTIONS", "TSAN_OPTIONS"):
            if name in os.environ:
                self.environment[name] = os.environ[name]
        self.process, self.port, self.ops, self.output = None, None, None, ""

    # -- the process

    def start(self, *command):
        """Returns when it says that it is ready."""
        self.with_engines()
        log = open(self.folder / "stderr.log", "ab")
        self.process = subprocess.Popen([BINARY, *(command or ("run",))], env=self.environment, cwd=self.folder,
                                        stdout=subprocess.PIPE, stderr=log, stdin=subprocess.DEVNULL,
                                        preexec_fn=die_with(os.getpid()))
        log.close()
        self.output = ""
        deadline = time.monotonic() + READY_S
        while "subpay is ready" not in self.output:
            ready, _, _ = select.select([self.process.stdout], [], [], max(0, deadline - time.monotonic()))
            piece = os.read(self.process.stdout.fileno(), 65536).decode() if ready else ""
            assert piece, f"not ready: {self.output}\n{self.errors()}"
            self.output += piece
        api = re.search(r"http://127\.0\.0\.1:(\d+)/api/openapi", self.output)
        ops = re.search(r"http://127\.0\.0\.1:(\d+)/metrics", self.output)
        self.port = int(api.group(1)) if api else None
        self.ops = int(ops.group(1)) if ops else None
        return self

    def with_engines(self):
        """What `run` makes by itself on the embedded engines."""
        if self.engines and not self.engines.made:
            self.engines.make(self.environment)
        return self

    def errors(self):
        path = self.folder / "stderr.log"
        return path.read_text(errors="replace")[-3000:] if path.exists() else ""

    def stop(self, expect=0):
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(15)
        self.process.stdout.close()
        assert code == expect, f"exit code {code}\n{self.errors()}"
        self.process = None

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        self.process = None

    def cli(self, *arguments, check=0, stdin=None, timeout=60, **environment):
        done = subprocess.run([BINARY, *arguments], env={**self.environment, **environment}, cwd=self.folder,
                              capture_output=True, text=True, input=stdin, timeout=timeout, check=False)
        if check is not None:
            assert done.returncode == check, f"{arguments}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    # -- the API

    def token(self, user, *arguments):
        return self.cli("token", "--user", str(user), *arguments).stdout.strip()

    def request(self, method, path, user=None, token=None, body=None, headers=None, port=None, timeout=40):
        headers = dict(headers or {})
        if user is not None:
            token = self.token(user)
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        connection = http.client.HTTPConnection("127.0.0.1", port or self.port, timeout=timeout)
        try:
            connection.request(method, path, body=body, headers=headers)
            answer = connection.getresponse()
            return Answer(answer.status, answer.headers, answer.read())
        finally:
            connection.close()

    def pay(self, user, payment_type="payment", subscription_type="month", key=None, **kwargs):
        headers = {"Idempotency-Key": key} if key else {}
        return self.request("POST", f"/api/v1/payments/?payment_type={payment_type}&subscription_type="
                                    f"{subscription_type}", user=user, headers=headers, **kwargs)

    def settled(self, user, payment_id, seconds=REST_S):
        """The payment once it is completed or duplicated."""
        token = self.token(user)

        def look():
            answer = self.request("GET", f"/api/v1/payments/{payment_id}?wait=5", token=token)
            assert answer.status in (200, 404), answer
            payment = answer.json if answer.status == 200 else {}
            return payment if payment.get("processing_status") in ("completed", "duplicated") else None
        return until(look, f"{payment_id} is completed", seconds)

    def crowd(self, requests, per_user, ids, connections=64):
        """Many users at once, by the load generator; returns the child."""
        return subprocess.Popen(
            [LOAD, str(self.port), "/api/v1/payments/?payment_type=payment&subscription_type=month",
             "--connections", str(connections), "--requests", str(requests), "--per-user", str(per_user),
             "--secret", self.SECRET, "--ids", str(ids)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            preexec_fn=die_with(os.getpid()))

    # -- the books

    def rows(self, sql, *parameters):
        if self.engines:
            return self.engines.rows(sql, *parameters)
        with contextlib.closing(sqlite3.connect(f"file:{self.data}/subpay.db?mode=ro", uri=True)) as db:
            return db.execute(sql, parameters).fetchall()

    @contextlib.contextmanager
    def books(self, loose=False):
        """A hand in the books, while no process works on them. loose: it may write what the store would refuse."""
        if self.engines:
            with self.engines.books() as db:
                if loose:
                    db.execute("SET session_replication_role = replica")  # no trigger, no foreign key
                    for table, name in db.execute("SELECT conrelid::regclass::text, conname FROM pg_constraint WHERE"
                                                  " contype = 'c' AND conrelid <> 0").fetchall():
                        db.execute(f"ALTER TABLE {table} DROP CONSTRAINT {name}")
                yield db
            return
        with contextlib.closing(sqlite3.connect(self.data / "subpay.db")) as db, db:
            if loose:
                for name, in db.execute("SELECT name FROM sqlite_schema WHERE type = 'trigger'").fetchall():
                    db.execute(f"DROP TRIGGER {name}")
                db.execute("PRAGMA ignore_check_constraints = ON")
            yield db

    def is_read(self):
        """Has the saver taken all that is in the topic?"""
        if self.engines:
            return self.engines.is_read()
        return self.rows("SELECT (SELECT next FROM queue_topics WHERE topic = 'payments') = coalesce((SELECT next FROM"
                         " positions WHERE topic = 'payments'), 0)") == [(1,)]

    def rest(self, seconds=REST_S):
        """Until the queue is stored and every request is completed or duplicated."""
        until(lambda: self.is_read() and not self.rows(
            "SELECT 1 FROM payments WHERE processing_status NOT IN ('completed', 'duplicated') LIMIT 1"),
            "every request is completed or duplicated", seconds)

    def journal(self):
        """The processing's own journal: request and answer of every line."""
        with contextlib.closing(sqlite3.connect(f"file:{self.data}/processing.db?mode=ro", uri=True)) as db:
            return [(json.loads(request), json.loads(answer))
                    for request, answer in db.execute("SELECT request, answer FROM journal ORDER BY seq")]

    def audit(self, check=0):
        done = self.cli("audit", "--json", check=check)
        return json.loads(done.stdout)

    def books_are_right(self):
        """What every flow has to leave behind."""
        report = self.audit()
        assert report["ok"], report
        successes = {}
        for request, answer in self.journal():
            if answer["result"] == "success":
                successes[request["payment_id"]] = successes.get(request["payment_id"], 0) + 1
        assert all(count == 1 for count in successes.values()), "a payment was executed twice"
        accepted = {row[0] for row in self.rows("SELECT id FROM payments WHERE payment_status = 'accepted'")}
        assert accepted == set(successes), "books and journal disagree"
        twice = self.rows("SELECT user_id FROM subscriptions WHERE starts_at < ends_at GROUP BY user_id"
                          " HAVING count(*) > count(end_reason) + 1")
        assert not twice, f"users with two subscriptions: {twice[:5]}"


def pytest_collection_modifyitems(config, items):
    """What is marked as about one set of engines is no test of the other one."""
    others = [item for item in items if item.get_closest_marker("embedded" if distributed.ON else "distributed")]
    config.hook.pytest_deselected(items=others)
    items[:] = [item for item in items if item not in others]


def pytest_configure(config):
    config.addinivalue_line("markers", "embedded: about the embedded engines alone")
    config.addinivalue_line("markers", "distributed: about the distributed engines alone")


@pytest.fixture
def make_subpay(tmp_path):
    """Makes processes; none survives its test."""
    made = []

    def make(name="", **how):
        folder = tmp_path / (name or f"subpay{len(made)}")
        folder.mkdir(exist_ok=True)
        made.append(Subpay(folder, **how))
        return made[-1]
    yield make
    for subpay in made:
        if subpay.process:
            subpay.kill()


@pytest.fixture
def subpay(make_subpay):
    return make_subpay().start()


@pytest.fixture
def user():
    return str(uuid.uuid4())
