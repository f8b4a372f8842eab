#!/usr/bin/env python3
"""Several processor services over one PostgreSQL, with a processing that misbehaves: requests are stored round by round, a
payment for everybody, then a refund, and so on, while processors are killed, or while PostgreSQL is. At the end every
request is decided, none is lost, nothing was charged twice and the audit is green. Prints the table of docs/rules.

    tests/kafka.py tests/faults/workers.py [--kills-per-s 1]    one of four is killed every second
    tests/kafka.py tests/faults/workers.py --stops 20           PostgreSQL is stopped as if the power went, and started

(The broker is there because the configuration wants one, and the audit looks into it.)
"""
import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

os.environ["SUBPAY_TEST_ENGINES"] = "distributed"
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from postgres import Cluster  # noqa: E402
from process import BINARY, Subpay, until  # noqa: E402

FILL = BINARY.parent / "tests" / "faults" / "fill"
FAULTS = {"PROCESSING_FAULTS": "timeout=0.005,drop=0.01,500=0.01", "PROCESSING_TIMEOUT_MS": "1000",
          "PROCESSING_OUTCOMES": "success=0.9,decline=0.07,error=0.03", "LOG_LEVEL": "error"}
DECIDED_S = 120
GOES_ON_S = 10
GROWTH_KB = 16_000


def wait(seconds):
    """Until a moment that is as good as any other."""
    moment = time.monotonic() + seconds
    until(lambda: time.monotonic() >= moment, "the moment has come")


class Workers:
    """A console, the simulator, and services by name, each a process."""

    def __init__(self, folder, cluster, seed, processors, *others):
        self.folder, self.running = Path(folder), {}
        self.console = Subpay(self.folder, server=cluster.url, PROCESSING_SEED=seed, **FAULTS).with_engines()
        self.start("processing")
        address = self.running["processing"].output.partition("http://")[2].split()[0]
        self.console.environment.update(PROCESSOR="http://" + address, PROCESSING_LISTEN=address)
        self.processors = [f"processor-{n}" for n in range(processors)]
        for name in (*self.processors, *others):
            self.start(name)

    def start(self, name):
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        one = self.running[name] = Subpay(folder, server=self.console.engines.server)
        one.engines, one.environment = self.console.engines, self.console.environment
        one.start(name.partition("-")[0])

    def kill(self, name):
        self.running[name].kill()
        self.start(name)

    def resident_kb(self):
        return {name: next(int(line.split()[1]) for line in Path(f"/proc/{one.process.pid}/status").open()
                           if line.startswith("VmRSS:")) for name, one in self.running.items()}

    def count(self, condition="true"):
        return self.console.rows(f"SELECT count(*) FROM payments WHERE {condition}")[0][0]

    def are_ready(self):
        return all(one.request("GET", "/health/ready", port=one.ops).status == 200 for one in self.running.values())

    def close(self):
        for one in self.running.values():
            if one.process:
                one.kill()


class Feed(threading.Thread):
    """Round after round, each when most of the one before is decided; until `enough`, and `rounds` at least."""

    def __init__(self, workers, users, rounds):
        super().__init__()
        self.workers, self.users, self.rounds = workers, users, rounds
        self.done, self.failed = 0, None
        self.enough = threading.Event()

    def run(self):
        try:
            while self.done < self.rounds or not self.enough.is_set():
                kind = ("payment", "refund")[self.done % 2]
                subprocess.run([FILL, str(self.users), str(self.done), kind], check=True,
                               env=self.workers.console.environment)
                self.done += 1
                until(self.is_most_decided, "most is decided", DECIDED_S)
        except BaseException as failed:  # for the thread that looks
            self.failed = failed

    def is_most_decided(self):
        try:
            return self.workers.count("processing_status IN ('new', 'in_processing')") <= self.users // 10
        except Exception:  # the server is away
            time.sleep(0.1)
            return False


def kills(workers, feed, chance, per_s):
    """Until all is filled in and decided; returns how many."""
    count, filled = 0, None
    while feed.is_alive() or workers.count("processing_status IN ('new', 'in_processing')"):
        if not feed.is_alive():
            filled = filled or time.monotonic()
            assert not feed.failed, feed.failed
            assert time.monotonic() < filled + DECIDED_S, "it does not come to its end"
        wait(1 / per_s)
        workers.kill(chance.choice(workers.processors))
        count += 1
    return count


def stops(workers, feed, chance, cluster, count):
    """Returns how long it took to go on, each time."""
    took = []
    until(lambda: feed.failed or feed.done > 1, "the first rounds are done", DECIDED_S)
    before = workers.resident_kb()
    for _ in range(count):
        wait(chance.uniform(0.2, 2))
        cluster.stop(immediate=True)
        wait(chance.uniform(0, 3))
        cluster.start()
        answers = time.monotonic()
        decided = workers.count("processing_status NOT IN ('new', 'in_processing')")
        until(lambda: workers.count("processing_status NOT IN ('new', 'in_processing')") > decided and workers.are_ready(),
              "all go on", GOES_ON_S)
        took.append(time.monotonic() - answers)
        assert not feed.failed, feed.failed
    feed.enough.set()
    feed.join()
    after = workers.resident_kb()
    grown = {name: after[name] - before[name] for name in after}
    assert max(grown.values()) < GROWTH_KB, grown
    print("resident kB: " + ", ".join(f"{name} {before[name]} to {after[name]}" for name in after), flush=True)
    return took


def judge(workers, feed):
    assert not feed.failed, feed.failed
    until(lambda: not workers.count("processing_status IN ('new', 'in_processing')"), "all is decided", DECIDED_S)
    assert workers.count() == feed.users * feed.done, "a request is lost"
    for one in workers.running.values():
        one.stop()
    workers.console.books_are_right()
    calls = workers.console.rows("SELECT count(*), sum(tries) FROM attempts")[0]
    print(f"{workers.count()} requests of {feed.users} users, {calls[0]} sent ({calls[1]} calls without an answer),"
          f" {workers.count('''payment_status = 'accepted' ''')} accepted: 0 lost, 0 double, audit green", flush=True)


def run(folder, users, rounds, processors=4, seed=1, kills_per_s=1, stop_count=0):
    chance = random.Random(seed)
    with Cluster() as cluster:
        others = ("notifier", "saver") if stop_count else ()
        workers = Workers(folder, cluster, seed, processors, *others)
        feed = Feed(workers, users, rounds)
        if not stop_count:
            feed.enough.set()
        try:
            feed.start()
            if stop_count:
                took = stops(workers, feed, chance, cluster, stop_count)
                print(f"PostgreSQL stopped {stop_count} times, all went on after {max(took):.1f} s", flush=True)
            else:
                print(f"{kills(workers, feed, chance, kills_per_s)} processors killed", flush=True)
            judge(workers, feed)
        finally:
            feed.rounds = 0
            feed.enough.set()
            workers.close()
            feed.join()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=10, help="requests of each")
    parser.add_argument("--processors", type=int, default=4)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kills-per-s", type=float, default=1)
    parser.add_argument("--stops", type=int, default=0)
    args = parser.parse_args()
    folder = tempfile.mkdtemp(prefix="subpay-workers.")  # kept when something is wrong
    print(f"in {folder}", flush=True)
    run(folder, args.users, args.rounds, args.processors, args.seed, args.kills_per_s, args.stops)
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
