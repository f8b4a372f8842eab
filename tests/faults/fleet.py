"""What the long fault tests of the distributed engines share: every service as a process of its own, any number of each,
which are killed and started again while requests come in, and what has to be true at the end."""
import contextlib
import itertools
import json
import os
import random
import re
import socket
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import psycopg2

os.environ["SUBPAY_TEST_ENGINES"] = "distributed"
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import distributed  # noqa: E402
from process import BINARY, Subpay, kept_folder, until  # noqa: E402,F401

FAULTS = {"PROCESSING_FAULTS": "timeout=0.005,drop=0.01,500=0.01", "PROCESSING_TIMEOUT_MS": "1000",
          "PROCESSING_OUTCOMES": "success=0.9,decline=0.07,error=0.03", "LOG_LEVEL": "warn"}
UNDECIDED = "processing_status IN ('new', 'in_processing')"
DECIDED_S = 120
GOES_ON_S = 10
AUDIT_S = 600


def wait(seconds, meanwhile=lambda: None):
    """Until a moment that is as good as any other."""
    moment = time.monotonic() + seconds
    until(lambda: meanwhile() or time.monotonic() >= moment, "the moment has come", seconds + DECIDED_S)


def fixed_port():
    """A free one that no connection gets by itself, so that it is free again when its owner was killed."""
    while True:
        port = random.randint(20000, 32000)
        with socket.socket() as one, contextlib.suppress(OSError):
            one.bind(("127.0.0.1", port))
            return port


def without_number(name):
    return re.sub(r"-\d+$", "", name)


class Fleet:
    """A console, the simulator, and services by name ("saver-0"), each a process."""

    def __init__(self, folder, seed, services, **engines):
        self.folder, self.running, self.peaks, self.how = Path(folder), {}, Counter(), engines
        self.starting, self.held_s, self.answered_s, self.held_at_kill = {}, [], [], 0  # of processors
        self.console = Subpay(self.folder, PROCESSING_SEED=seed, **engines, **FAULTS).with_engines()
        self.kept = threading.local()
        self.console.engines.rows = self.rows
        self.start("processing")
        address = self.running["processing"].output.partition("http://")[2].split()[0]
        self.console.environment.update(PROCESSOR="http://" + address, PROCESSING_LISTEN=address)
        self.ports = {name: fixed_port() for name in services if without_number(name) == "subscription-app"}
        for name in services:
            self.start(name)

    def of(self, service):
        return [name for name in self.running if without_number(name) == service]

    def start(self, name):
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        one = self.running[name] = Subpay(folder, **self.how)
        one.engines, one.environment = self.console.engines, self.console.environment
        if name in getattr(self, "ports", {}):
            one.environment = {**one.environment, "SUBSCRIPTION_APP_LISTEN": f"127.0.0.1:{self.ports[name]}"}
        begun = time.monotonic()
        one.start(without_number(name))
        if without_number(name) == "processor":
            self.starting[name] = [begun, 0]

    def kill(self, name):
        self.note_peaks()
        if name in self.starting:
            begun, held_s = self.starting.pop(name)
            self.held_at_kill += held_s > time.monotonic() - begun - 0.5
        self.running[name].kill()
        self.start(name)

    def look(self):
        """How long is a processor that was started held by what it has to know first (contract rule 11), and when has it
        its first answer? That one may be late because there is nothing to do."""
        for name, (begun, held_s) in list(self.starting.items()):
            with contextlib.suppress(OSError):
                said = self.running[name].request("GET", "/metrics", port=self.running[name].ops).body.decode()
                if re.search(r"^subpay_processing_waits\S* 1", said, re.M):
                    self.starting[name][1] = time.monotonic() - begun
                elif sum(map(int, re.findall(r"^subpay_processing_calls_total\S* (\d+)", said, re.M))):
                    self.held_s.append(held_s)
                    self.answered_s.append(time.monotonic() - begun)
                    del self.starting[name]

    def say_starts(self):
        held, answered = sorted(self.held_s), sorted(self.answered_s)
        return (f"{len(held)} processors were started: held until they had read the journal for {held[len(held) // 2]:.1f} s"
                f" (half of them), {held[-1]:.1f} s (the longest); the first answer after {answered[len(held) // 2]:.1f} s,"
                f" {answered[-1]:.1f} s; {self.held_at_kill} more were killed while they were held")

    def memory(self, field="VmRSS"):
        """Resident kB of each process; VmHWM: the most it ever was."""
        return {name: next(int(line.split()[1]) for line in Path(f"/proc/{one.process.pid}/status").open()
                           if line.startswith(field + ":")) for name, one in self.running.items()}

    def note_peaks(self):
        for name, peak in self.memory("VmHWM").items():
            service = without_number(name)
            self.peaks[service] = max(self.peaks[service], peak)

    def forget_peaks(self):
        self.peaks.clear()
        for one in self.running.values():
            Path(f"/proc/{one.process.pid}/clear_refs").write_text("5")

    def rows(self, sql, *parameters):
        """By a connection of this thread that is kept: to log in costs more than to ask, and much is asked."""
        for fresh in (False, True):
            try:
                if fresh or not hasattr(self.kept, "books"):
                    engines = self.console.engines
                    self.kept.books = distributed.Books(distributed.connect(engines.url_of(engines.database)))
                return self.kept.books.execute(sql, parameters).fetchall()
            except (psycopg2.OperationalError, psycopg2.InterfaceError):
                if fresh:
                    raise

    def count(self, condition="true"):
        return self.console.rows(f"SELECT count(*) FROM payments WHERE {condition}")[0][0]

    def are_ready(self):
        return all(one.request("GET", "/health/ready", port=one.ops).status == 200 for one in self.running.values())

    def stop(self):
        self.note_peaks()
        for one in self.running.values():
            one.stop()

    def close(self):
        for one in self.running.values():
            if one.process:
                one.kill()


class Feed(threading.Thread):
    """Round after round, a payment for everybody, then a refund, and so on, each when most of the one before is decided;
    until is_enough, which is asked with the number of rounds that are done."""

    def __init__(self, fleet, users, post, is_enough):
        super().__init__(daemon=True)
        self.fleet, self.users, self.post, self.is_enough = fleet, users, post, is_enough
        self.done, self.failed = 0, None
        self.ended = threading.Event()
        self.heedless = False  # goes on while one of them is away

    def run(self):
        try:
            while not self.ended.is_set() and not self.is_enough(self.done):
                self.post(self.done, ("payment", "refund")[self.done % 2])
                self.done += 1
                until(self.is_most_decided, "most is decided", DECIDED_S)
        except BaseException as failed:  # for the thread that looks
            self.failed = failed

    def is_most_decided(self):
        try:
            return self.ended.is_set() or (self.fleet.console.is_read()
                                           and self.fleet.count(UNDECIDED) <= self.users // 10)
        except Exception:  # a server is away
            wait(0.5)
            return self.heedless

    def check(self):
        if self.failed:
            raise self.failed


def kills(fleet, feed, chance, services, every_s):
    """Of each service one every so often, but not before something has happened since the last one; until all is posted and
    decided. Returns how many."""
    def last_event():
        return fleet.console.rows("SELECT max(seq) FROM events")[0][0]

    def is_over():
        return not feed.is_alive() and not fleet.count(UNDECIDED)

    counts, turns, seen, due = Counter(), itertools.cycle(services), last_event(), time.monotonic()
    while not is_over():
        feed.check()
        due = max(due + every_s / len(services), time.monotonic())
        wait(due - time.monotonic(), fleet.look)
        until(lambda: last_event() != seen or fleet.look() or is_over(), "it goes on", DECIDED_S)
        service, seen = next(turns), last_event()
        fleet.kill(chance.choice(fleet.of(service)))
        counts[service] += 1
    feed.check()
    return counts


def charged_twice(journal):
    """Users with a second successful charge before a refund of the one before."""
    has, twice = Counter(), set()
    for request, answer in journal:
        if answer["result"] == "success":
            user = request["user_id"]
            has[user] += 1 if request["payment_type"] == "payment" else -1
            if has[user] not in (0, 1):
                twice.add(user)
    return twice


def judge(fleet, told=None):
    """Stops all; what has to be true. told: a file of the ids that a client was told. Returns a line that says so."""
    for one in list(fleet.running):
        assert fleet.running[one].process.poll() is None, f"{one} has ended\n{fleet.running[one].errors()}"
    fleet.stop()
    console = fleet.console
    report = json.loads(console.cli("audit", "--json", *(("--accepted", str(told)) if told else ()), timeout=AUDIT_S).stdout)
    assert report["ok"], report
    console.books_are_right()
    twice = charged_twice(console.journal())
    assert not twice, f"charged twice: {sorted(twice)[:5]}"
    users = console.rows("SELECT count(*) FROM accounts")[0][0]
    sent, repeated = console.rows("SELECT count(*), coalesce(sum(tries), 0) FROM attempts")[0]
    return (f"{fleet.count()} requests of {users} users stored, {sent} sent ({repeated} calls without an answer),"
            f" {fleet.count('''payment_status = 'accepted' ''')} accepted: 0 lost, 0 double, audit green")
