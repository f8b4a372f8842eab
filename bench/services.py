#!/usr/bin/env python3
"""One process per service, on Kafka and PostgreSQL: each service beside what its libraries do by themselves, and all.

    accept      requests answered 202, beside evhttp's hello, and beside librdkafka's producer (records of the same
                size, as many on their way, reports awaited); then the p99 at half of that rate
    saver       records stored, beside librdkafka's consumer and the same rows inserted by libpq
    processor   payments settled, beside the same calls by libcurl's multi handle to the same simulator
    notifier    users told
    end to end  POST to completed, with all services, broker, server and load generator on this machine

In a round raw and ours take turns; medians are compared. A service works alone on what the one before it has left, so
a rate says what it can do; the part of others who use the machine is in it, which is why CPU is compared too. CPU
seconds and peak memory are those of each process with its children. Written to bench/results.
"""
import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from recording import BUILD, SETTINGS, Cluster, copy, drop, heading, inserts, record, replay_file, run_lines, save
from run import PAY, Subpay, end_at_sigterm, folder_of_all, load, run_json
from kafka import Broker  # of tests

PARTITIONS, BATCH = 8, 500  # as `topic create` and the saver have it
RECORD_BYTES = 200          # of a request without a payment method
CALLS = 376                 # that a processor has in flight for new payments
WAIT_S = 300
GOALS = {"accept of hello": 0.4, "saver of raw": 0.7, "processor of raw": 0.5, "p99_ms": 10, "end_to_end": 7600,
         "cpu_s_per_1000": 0.26}


# ---- what it costs ----

def stat(pid):
    """The fields behind the name: [0] state, [1] parent, [11:15] user, system, and those of children that ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None


def tree(pid):
    parents = {int(entry.name): stat(entry.name) for entry in Path("/proc").glob("[0-9]*")}
    return [pid] + [child for child, fields in parents.items() if fields and int(fields[1]) == pid]


def cpu_seconds(pid):
    rows = [fields for fields in map(stat, tree(pid)) if fields]
    return sum(int(tick) for fields in rows for tick in fields[11:15]) / os.sysconf("SC_CLK_TCK")


def peak_mib(pid):
    """Of the whole tree; memory that is shared counts once."""
    own = shared = 0
    for member in tree(pid):
        try:
            text = Path(f"/proc/{member}/status").read_text()
        except OSError:
            continue
        sizes = dict(re.findall(r"^(VmHWM|RssShmem):\s+(\d+)", text, re.M))
        if len(sizes) < 2:
            continue  # it has ended, and its parent does not know yet
        peak, common = int(sizes["VmHWM"]), int(sizes["RssShmem"])
        own, shared = own + peak - common, max(shared, common)
    return round((own + shared) / 1024, 1)


def measured(processes, payments, work):
    """What work() returned, and what each process spent on it, per 1,000 payments."""
    before = {name: cpu_seconds(pid) for name, pid in processes.items()}
    done = work()
    cpu = {name: round((cpu_seconds(pid) - before[name]) * 1000 / payments, 4) for name, pid in processes.items()}
    return {**done, "cpu_s_per_1000": cpu, "cpu_s_per_1000_all": round(sum(cpu.values()), 4),
            "peak_mib": {name: peak_mib(pid) for name, pid in processes.items()}}


# ---- ours ----

def command(*arguments, **environment):
    done = subprocess.run([BUILD.parent / "subpay", *arguments], capture_output=True, text=True, check=False,
                          env={"PATH": os.environ["PATH"], **environment})
    if done.returncode != 0:
        sys.exit(f"subpay {arguments[0]}: {done.stdout}{done.stderr}")


class World:
    """A database and a topic of its own, and the services that work on them."""

    count = 0

    def __init__(self, engines, folder):
        World.count += 1
        self.engines, self.name = engines, f"world{World.count}"
        self.folder = Path(folder) / self.name
        self.folder.mkdir()
        self.services = {}
        self.environment = {"DATABASE_URL": copy(engines.cluster, self.name), "TOPIC_PAYMENT": self.name,
                            "KAFKA_BROKERS": engines.broker.bootstrap}
        self.cli("topic", "create", self.name, "--partitions", str(PARTITIONS))

    def cli(self, *arguments):
        command(*arguments, **self.environment, DATA_DIR=str(self.folder / "processing"))

    def start(self, part):
        folder = self.folder / part
        folder.mkdir()
        more = {"PROCESSOR": f"http://127.0.0.1:{self.services['processing'].port}"} if part == "processor" else {}
        self.services[part] = Subpay(folder, part, **self.environment, **more)

    def stop(self):
        for service in self.services.values():
            service.stop()
        self.services = {}

    def processes(self, *parts):
        return {**{part: self.services[part].process.pid for part in parts}, **self.engines.processes()}

    def metric(self, part, series):
        text = urllib.request.urlopen(f"http://127.0.0.1:{self.services[part].ops}/metrics", timeout=30).read().decode()
        return float(re.search(rf"^{re.escape(series)} (\S+)$", text, re.M).group(1))

    def until(self, part, series, wanted):
        """The rate from the first that is seen to the last: what the start of a service takes is not in it."""
        first = None
        deadline = time.monotonic() + WAIT_S
        while True:
            count, now = self.metric(part, series), time.monotonic()
            if first is None and count > 0:
                first = (count, now)
            if count >= wanted:
                break
            if now > deadline:
                sys.exit(f"{part}: {series} is {count} after {WAIT_S} s, and should be {wanted}")
            time.sleep(0.05)
        return {"ended": now, "per_second": round((count - first[0]) / max(now - first[1], 1e-3))}

    def books_are_right(self, payments):
        done = int(self.engines.cluster.sql("SELECT count(*) FROM payments WHERE processing_status = 'completed'",
                                            self.name))
        if done != payments:
            sys.exit(f"{done} of {payments} payments are completed")
        self.cli("audit")


STORED = 'subpay_saver_records_total{result="stored"}'
SETTLED = 'subpay_processing_calls_total{result="success"}'
TOLD = 'subpay_notifications_total{result="delivered"}'


def accepted(world, args, requests, *more):
    found = load(world.services["subscription-app"].port, PAY, args, "--requests", requests, *more)
    if found["2xx"] != requests:
        sys.exit(f"not every request was accepted: {found}")
    return found


def stages(engines, args, rows):
    """One service after the other; what each leaves is the work of the next."""
    count = args.payments
    world = World(engines, args.folder)
    world.start("subscription-app")
    accept = measured(world.processes("subscription-app"), count, lambda: accepted(world, args, count))
    rows["accept"].append(accept)
    rows["accept at half the rate"].append(accepted(world, args, count, "--rate", accept["per_second"] // 2))
    world.stop()
    total = 2 * count
    rows["raw saver"].append(raw_saver(engines, args, world.name, total))
    world.start("saver")
    rows["saver"].append(measured(world.processes("saver"), total, lambda: world.until("saver", STORED, total)))
    world.stop()
    rows["raw calls"].append(raw_calls(args))
    world.start("processing")
    world.start("processor")
    rows["processor"].append(measured(world.processes("processing", "processor"), total,
                                      lambda: world.until("processor", SETTLED, total)))
    world.stop()
    world.start("notifier")
    rows["notifier"].append(measured(world.processes("notifier"), total, lambda: world.until("notifier", TOLD, total)))
    world.stop()
    world.books_are_right(total)


def end_to_end(engines, args):
    parts = ["subscription-app", "saver", "processing", "processor", "notifier"]
    world = World(engines, args.folder)
    for part in parts:
        world.start(part)
    accepted(world, args, 1)
    world.until("notifier", TOLD, 1)  # the saver is in its group, the processor has read the journal

    def work():
        start = time.monotonic()
        accept = accepted(world, args, args.payments)
        seconds = world.until("notifier", TOLD, args.payments + 1)["ended"] - start
        return {"payments": args.payments, "seconds": round(seconds, 3), "per_second": round(args.payments / seconds),
                "accept": accept}
    found = measured(world.processes(*parts), args.payments, work)
    world.stop()
    world.books_are_right(args.payments + 1)
    return found


# ---- raw ----

class Engines:
    def __init__(self, cluster, broker):
        self.cluster, self.broker = cluster, broker
        command("migrate", "upgrade", DATABASE_URL=cluster.url)  # every database is a copy of this one

    def processes(self):
        return {"broker": self.broker.process.pid, "postgres": self.cluster.server.pid}


def raw_hello(args):
    process = subprocess.Popen([BUILD / "hello"], stdout=subprocess.PIPE, text=True)
    try:
        port = int(process.stdout.readline())
        return measured({"hello": process.pid}, args.payments,
                        lambda: load(port, "/", args, "--requests", args.payments))
    finally:
        process.kill()
        process.wait()


def raw_producer(engines, args, topic):
    row = measured({"broker": engines.broker.process.pid}, args.payments, lambda: run_json(
        BUILD / "produce", engines.broker.bootstrap, topic, args.payments, RECORD_BYTES, args.connections))
    return with_client(row, args.payments)


def with_client(row, count):
    """The program has ended: it has said itself what it took."""
    row["cpu_s_per_1000"]["raw"] = round(row.pop("cpu_seconds") * 1000 / count, 4)
    row["cpu_s_per_1000_all"] = round(sum(row["cpu_s_per_1000"].values()), 4)
    return row


def raw_saver(engines, args, topic, count):
    url = copy(engines.cluster, "raw")

    def work():
        done = run_lines(BUILD / "replay", url, args.inserts, engines.broker.bootstrap, topic, count, BATCH)[0]
        return {"per_second": round(count / done["seconds"]), "cpu_seconds": done["client"]}
    row = with_client(measured(engines.processes(), count, work), count)
    drop(engines.cluster, "raw")
    return row


def raw_calls(args):
    simulator = Subpay(tempfile.mkdtemp(dir=args.folder), "processing")
    row = measured({"processing": simulator.process.pid}, args.payments, lambda: run_json(
        BUILD / "calls", simulator.port, args.payments, CALLS))
    simulator.stop()
    return with_client(row, args.payments)


def record_inserts(engines, folder, count):
    """What our own verb inserts for so many records, as a file for `replay`."""
    url = copy(engines.cluster, "recorded")
    calls = record(engines.cluster, "recorded", [BUILD / "ledger", url, count, BATCH])
    drop(engines.cluster, "recorded")
    return replay_file(Path(folder) / "inserts", inserts(calls))


# ---- the result ----

def median(rows, name="per_second"):
    return statistics.median(row[name] for row in rows)


def ratio(rows, ours, raw):
    o, r = rows[ours], rows[raw]
    return {"rate": round(median(o) / median(r), 3),
            "cpu": round(median(r, "cpu_s_per_1000_all") / median(o, "cpu_s_per_1000_all"), 3)}


def show(result):
    for name, rows in result["rows"].items():
        cpu = {}
        for row in rows:
            for process, seconds in row.get("cpu_s_per_1000", {}).items():
                cpu.setdefault(process, []).append(seconds)
        print(f"{name:24} {median(rows):8.0f} /s  "
              + "  ".join(f"{process} {statistics.median(seconds):.3f}" for process, seconds in cpu.items()))
    for name, found in result["ratios"].items():
        print(f"{name:24} {found['rate']} by rate, {found['cpu']} by CPU"
              + (f" (goal >= {GOALS[name]})" if name in GOALS else ""))
    print(f"p99 of accept at half the rate {result['p99_ms']} ms (goal < {GOALS['p99_ms']})")
    print(f"end to end {result['end_to_end']} /s (goal >= {GOALS['end_to_end']}), CPU s per 1,000: "
          f"{result['cpu_s_per_1000']} (goal <= {GOALS['cpu_s_per_1000']})")
    print(f"peak MiB: {result['rows']['end to end'][-1]['peak_mib']}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--payments", type=int, default=20000)
    parser.add_argument("--connections", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    end_at_sigterm()
    names = ["hello", "accept", "accept at half the rate", "raw producer", "saver", "raw saver", "processor",
             "raw calls", "notifier", "end to end"]
    rows = {name: [] for name in names}
    result = {**heading(), "goals": GOALS, "settings": {**SETTINGS, "autovacuum": "on"}, "rows": rows}
    with folder_of_all() as folder, Cluster(**result["settings"]) as cluster, Broker(heap="768m") as broker:
        engines = Engines(cluster, broker)
        # Removed at the end, all at once: ext4 takes long to find a number for a file where many were just freed.
        args.folder = Path(folder)
        args.inserts = record_inserts(engines, folder, 2 * args.payments)
        scratch = World(engines, folder).name
        raw_producer(engines, args, scratch)  # the broker has compiled what it runs
        for _ in range(args.rounds):
            rows["hello"].append(raw_hello(args))
            rows["raw producer"].append(raw_producer(engines, args, scratch))
            stages(engines, args, rows)
            rows["end to end"].append(end_to_end(engines, args))
    result["ratios"] = {"accept of hello": ratio(rows, "accept", "hello"),
                        "accept of producer": ratio(rows, "accept", "raw producer"),
                        "saver of raw": ratio(rows, "saver", "raw saver"),
                        "processor of raw": ratio(rows, "processor", "raw calls")}
    result["p99_ms"] = median(rows["accept at half the rate"], "p99_ms")
    result["end_to_end"] = median(rows["end to end"])
    result["cpu_s_per_1000"] = median(rows["end to end"], "cpu_s_per_1000_all")
    show(result)
    save(result, "-services")
    return 0


if __name__ == "__main__":
    sys.exit(main())
