#!/usr/bin/env python3
"""Several processor services over one PostgreSQL, with a processing that misbehaves: requests are stored round by round, a
payment for everybody, then a refund, and so on, while processors are killed, or while PostgreSQL is. At the end every
request is decided, none is lost, nothing was charged twice and the audit is green. Prints the table of docs/rules.

    tests/kafka.py tests/faults/workers.py [--kills-per-s 1]    one of four is killed every second
    tests/kafka.py tests/faults/workers.py --stops 20           PostgreSQL is stopped as if the power went, and started

(The broker is there because the configuration wants one, and the audit looks into it.)
"""
import argparse
import random
import subprocess
import sys
import time

from fleet import BINARY, DECIDED_S, GOES_ON_S, UNDECIDED, Feed, Fleet, judge, kept_folder, kills, until, wait
from children import end_at_sigterm
from postgres import Cluster

FILL = BINARY.parent / "tests" / "faults" / "fill"
GROWTH_KB = 16_000


def stops(fleet, feed, chance, cluster, count):
    """Returns how long it took to go on, each time."""
    took = []
    until(lambda: feed.failed or feed.done > 1, "the first rounds are done", DECIDED_S)
    before = fleet.memory()
    for _ in range(count):
        wait(chance.uniform(0.2, 2))
        cluster.stop(immediate=True)
        wait(chance.uniform(0, 3))
        cluster.start()
        answers = time.monotonic()
        decided = fleet.count(f"NOT {UNDECIDED}")
        until(lambda: fleet.count(f"NOT {UNDECIDED}") > decided and fleet.are_ready(), "all go on", GOES_ON_S)
        took.append(time.monotonic() - answers)
        feed.check()
    after = fleet.memory()
    grown = {name: after[name] - before[name] for name in after}
    assert max(grown.values()) < GROWTH_KB, grown
    print("resident kB: " + ", ".join(f"{name} {before[name]} to {after[name]}" for name in after), flush=True)
    return took


def run(folder, users, rounds, processors=4, seed=1, kills_per_s=1, stop_count=0):
    chance, stopped = random.Random(seed), []
    with Cluster() as cluster:
        services = [f"processor-{n}" for n in range(processors)] + (["notifier-0", "saver-0"] if stop_count else [])
        fleet = Fleet(folder, seed, services, server=cluster.url)

        def fill(number, kind):
            subprocess.run([FILL, str(users), str(number), kind], check=True, env=fleet.console.environment)

        feed = Feed(fleet, users, fill, lambda done: done >= rounds and len(stopped) == stop_count)
        try:
            feed.start()
            if stop_count:
                stopped += stops(fleet, feed, chance, cluster, stop_count)
                print(f"PostgreSQL stopped {stop_count} times, all went on after {max(stopped):.1f} s", flush=True)
                feed.join()
            else:
                print(f"killed: {dict(kills(fleet, feed, chance, ['processor'], 1 / kills_per_s))}", flush=True)
            feed.check()
            until(lambda: not fleet.count(UNDECIDED), "all is decided", DECIDED_S)
            assert fleet.count() == users * feed.done, "a request is lost"
            print(judge(fleet), flush=True)
        finally:
            feed.ended.set()
            fleet.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=10, help="requests of each")
    parser.add_argument("--processors", type=int, default=4)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kills-per-s", type=float, default=1)
    parser.add_argument("--stops", type=int, default=0)
    args = parser.parse_args()
    end_at_sigterm()
    with kept_folder("workers") as folder:
        run(folder, args.users, args.rounds, args.processors, args.seed, args.kills_per_s, args.stops)
    return 0


if __name__ == "__main__":
    sys.exit(main())
