#!/usr/bin/env python3
"""Every service as processes of its own on Apache Kafka and PostgreSQL, with a processing that misbehaves, while many users
post to both APIs, a payment and then a refund and so on. Prints the table of docs/rules.

    tests/faults/services.py                     one API, saver, processor and notifier is killed every few seconds
    tests/faults/services.py --outage kafka      Kafka is killed, and started after a minute
    tests/faults/services.py --outage postgres   PostgreSQL likewise, as if the power went

At the end every request is decided and told or is a duplicate, whatever was answered 202 is there, nothing was charged
twice, the audit is green, and all of the topic read again changes nothing.
"""
import argparse
import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

from fleet import BINARY, DECIDED_S, GOES_ON_S, UNDECIDED, Feed, Fleet, judge, kept_folder, kills, until, wait
from children import die_with, end_at_sigterm
from kafka import Broker
from postgres import Cluster

LOAD = BINARY.parent / "bench" / "load"
PARTITIONS = 6
KILLED = {"subscription-app": 2, "saver": 3, "processor": 3, "notifier": 2}  # how many of each
SUBSCRIPTIONS = ("month", "three_months", "year")
PEAK_KB = 96_000
GROWTH_KB = 32_000  # in an outage
PATIENCE_S = 60
ANSWER_S = 5.5  # contract section 5: 5 s, and half for this machine
AT_ONCE_S = 0.5  # half of the answers, once it is known to be away
KNOWN_S = 6
TABLES = ("payments", "events", "attempts", "subscriptions")


class Crowd:
    """Posts the requests of a round, each half of the users to one API; what was not answered is repeated."""

    def __init__(self, fleet, users, connections=16):
        self.fleet, self.users, self.connections = fleet, users, connections
        self.told = fleet.folder / "told"
        self.told.write_text("")
        self.accepted, self.answers = 0, []

    def post(self, number, kind):
        half, children = self.users // 2, []
        path = f"/api/v1/payments/?payment_type={kind}&subscription_type={SUBSCRIPTIONS[number // 2 % 3]}"
        ports = list(self.fleet.ports.values())
        for i in range(2):
            ids = self.fleet.folder / f"ids{i}"
            children.append((ids, subprocess.Popen(
                [LOAD, str(ports[(i + number) % 2]), path, "--connections", str(self.connections), "--requests", str(half),
                 "--first-user", str(i * half), "--patience", str(PATIENCE_S), "--secret", self.fleet.console.SECRET,
                 "--ids", str(ids)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                preexec_fn=die_with(os.getpid()))))
        for ids, child in children:
            said, complaint = child.communicate(timeout=300)
            assert child.returncode == 0, complaint
            self.answers.append(json.loads(said))
            with open(self.told, "a", encoding="ascii") as told:
                told.write(ids.read_text())
            self.accepted += self.answers[-1]["2xx"]

    def __str__(self):
        total = {name: sum(answer[name] for answer in self.answers) for name in ("2xx", "4xx", "5xx", "broken")}
        return (f"answers: {total['2xx']} 202, {total['4xx']} 409, {total['5xx']} 503; {total['broken']} connections broken"
                f" or refused; the slowest after {max(answer['max_ms'] for answer in self.answers) / 1000:.1f} s")


def read_again(fleet):
    """All of the topic: no row changes, and nothing is charged."""
    console = fleet.console
    with console.books() as db:
        db.execute("CREATE SCHEMA was")
        for table in TABLES:
            db.execute(f"CREATE TABLE was.{table} AS TABLE {table}")
    lines = len(console.journal())
    console.cli("topic", "rewind", console.topic, "--beginning")
    begun = time.monotonic()
    until(console.is_read, "all is read again", DECIDED_S)
    for table in TABLES:
        changed = console.rows(f"(SELECT 'now', * FROM (TABLE {table} EXCEPT TABLE was.{table}) t LIMIT 5) UNION ALL "
                               f"(SELECT 'was', * FROM (TABLE was.{table} EXCEPT TABLE {table}) t LIMIT 5)")
        assert not changed, f"reading the topic again has changed {table}: {changed}"
    assert len(console.journal()) == lines, "reading the topic again has made the processing do something"
    with console.books() as db:
        db.execute("DROP SCHEMA was CASCADE")
    print(f"all of the topic read again in {time.monotonic() - begun:.0f} s: no row changed, nobody charged", flush=True)


def in_time(call, seconds):
    begun = time.monotonic()
    answer = call()
    took = time.monotonic() - begun
    assert took < seconds, f"{took} s: {answer}"
    return answer, took


def ask_without(fleet, engine, token, apis):
    """What users see while it is away; returns how long the POSTs took."""
    tooks = []
    for api in apis:
        answer, took = in_time(lambda: api.pay(None, token=token), ANSWER_S)
        tooks.append(took)
        assert answer.status == (503 if engine == "kafka" else 202) and answer.json["payment_id"], answer
        if answer.status == 202:
            with open(fleet.folder / "told-too", "a", encoding="ascii") as told:
                told.write(answer.json["payment_id"] + "\n")
        else:
            assert int(answer.headers["Retry-After"]) >= 1
        answer, _ = in_time(lambda: api.request("GET", "/api/v1/payments/", token=token), ANSWER_S)
        assert answer.status == (200 if engine == "kafka" else 503), answer
    return tooks


def outage(fleet, feed, engine, away, back, seconds):
    """Stops it for so long. Prints what was measured."""
    until(lambda: feed.failed or feed.done > 1, "the first rounds are done", DECIDED_S)
    feed.check()
    apis = [fleet.running[name] for name in fleet.of("subscription-app")]
    token = apis[0].token("aa000000-0000-7000-8000-00000fffffff")
    before, tooks, late = fleet.memory(), [], []
    fleet.forget_peaks()
    feed.heedless = True
    away()
    gone = time.monotonic()
    until(lambda: engine == "kafka" or all(api.pay(None, token=token).status == 202 for api in apis), "they accept",
          GOES_ON_S)
    while time.monotonic() < gone + seconds:
        which = late if time.monotonic() > gone + KNOWN_S else tooks
        which += ask_without(fleet, engine, token, apis)
        feed.check()
        wait(0.2)
    fleet.note_peaks()
    peak = fleet.memory("VmHWM")
    back()
    begun, decided = time.monotonic(), fleet.count(f"NOT {UNDECIDED}")
    until(lambda: all(api.pay(None, token=token).status in (202, 409) for api in apis), "they accept", GOES_ON_S)
    accepts_s = time.monotonic() - begun
    until(lambda: fleet.count(f"NOT {UNDECIDED}") > decided, "more is decided", GOES_ON_S)
    decides_s = time.monotonic() - begun
    until(fleet.are_ready, "all are ready", 2 * GOES_ON_S)
    ready_s = time.monotonic() - begun
    feed.heedless = False
    feed.ended.set()
    feed.join()
    feed.check()
    after = fleet.memory()
    half = sorted(late)[len(late) // 2] if late else 0
    print(f"{engine} away for {seconds} s; POST asked {len(tooks + late)} times, the slowest answer after"
          f" {max(tooks + late):.2f} s, half of those after {KNOWN_S} s in {half:.3f} s; when it answered again: accepting in"
          f" {accepts_s:.1f} s, deciding in {decides_s:.1f} s, all ready in {ready_s:.1f} s", flush=True)
    print("resident kB before, at most, after: "
          + ", ".join(f"{name} {before[name]} {peak[name]} {after[name]}" for name in after), flush=True)
    grown = {name: peak[name] - before[name] for name in after}
    assert max(grown.values()) < GROWTH_KB, grown
    assert half < AT_ONCE_S


def run(folder, requests, users, every_s=4, seed=1, engine=None, seconds=60):
    chance, begun = random.Random(seed), time.monotonic()
    services = [f"{service}-{n}" for service, count in KILLED.items() for n in range(count)]
    with Broker() as broker, Cluster() as cluster:
        fleet = Fleet(folder, seed, services, partitions=PARTITIONS, server=cluster.url, broker=broker.bootstrap)
        crowd = Crowd(fleet, users)
        feed = Feed(fleet, users, crowd.post, lambda done: not engine and crowd.accepted >= requests)
        try:
            feed.start()
            if engine:
                ways = {"kafka": (lambda: broker.stop(kill=True), broker.start),
                        "postgres": (lambda: cluster.stop(immediate=True), cluster.start)}
                outage(fleet, feed, engine, *ways[engine], seconds)
            else:
                counts = kills(fleet, feed, chance, list(KILLED), every_s)
                print(f"killed: {dict(counts)}; {fleet.say_starts()}", flush=True)
            fleet.console.rest(DECIDED_S)
            print(f"all is decided and told after {time.monotonic() - begun:.0f} s; {crowd}", flush=True)
            read_again(fleet)
            if (fleet.folder / "told-too").exists():
                with open(crowd.told, "a", encoding="ascii") as told:
                    told.write((fleet.folder / "told-too").read_text())
            print(judge(fleet, crowd.told), flush=True)
            print(f"resident kB at most: {dict(fleet.peaks)}", flush=True)
            assert max(fleet.peaks.values()) < PEAK_KB
        finally:
            feed.ended.set()
            fleet.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=50_000)
    parser.add_argument("--users", type=int, default=5000)
    parser.add_argument("--every-s", type=float, default=4, help="one of each service is killed so often")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--outage", choices=["kafka", "postgres"])
    parser.add_argument("--seconds", type=float, default=60, help="of the outage")
    args = parser.parse_args()
    end_at_sigterm()
    with kept_folder("services") as folder:
        run(folder, args.requests, args.users, args.every_s, args.seed, args.outage, args.seconds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
