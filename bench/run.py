#!/usr/bin/env python3
"""The two ratios that are kept from the first day, each against the raw limit in the same run:

    accept      requests a second that are answered 202, beside the HTTP library's own hello
    end to end  payments a second from POST to completed, beside SQLite's own rate for the same rows and commits

Runs alternate (raw, ours, raw, ours, …), medians are compared. Written to bench/results with machine and command.
"""
import argparse
import contextlib
import json
import os
import platform
import re
import shutil
import signal
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))
from children import die_with, end_at_sigterm  # noqa: E402

BUILD = Path(os.environ.get("SUBPAY_BENCH_BUILD", ROOT / "build"))
PAY = "/api/v1/payments/?payment_type=payment&subscription_type=month"
SECRET = "benchmark-benchmark-benchmark-benchmark"


def run_json(*command):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{command[0]} failed: {done.stderr}")
    return json.loads(done.stdout)


class Subpay:
    """A process of ours in a folder of its own, on free ports: the whole service, or one of its parts."""

    running = []

    def __init__(self, folder, part="run", **more):
        self.folder = Path(folder)
        environment = {"PATH": os.environ["PATH"], "DATA_DIR": str(self.folder), "JWT_SECRET_KEY": SECRET,
                       "SUBSCRIPTION_APP_LISTEN": "127.0.0.1:0", "PROCESSING_LISTEN": "127.0.0.1:0",
                       "OPS_LISTEN": "127.0.0.1:0", "PROCESSING_LATENCY_MS": "0-0",
                       "PROCESSING_OUTCOMES": "success=1", "LOG_LEVEL": "warn", **more}
        self.process = subprocess.Popen([BUILD / "subpay", part], env=environment, cwd=folder,
                                        stdout=subprocess.PIPE, text=True, preexec_fn=die_with(os.getpid()))
        Subpay.running.append(self.process)
        said = ""
        while "subpay is ready" not in said:
            line = self.process.stdout.readline()
            if not line:
                sys.exit(f"subpay {part} did not start")
            said += line
        ports = {what: int(port) for what, port in re.findall(r"^(\w+) .*http://127\.0\.0\.1:(\d+)", said, re.M)}
        self.port, self.ops = ports.get("API", ports.get("processing")), ports["ops"]

    def completed(self):
        with sqlite3.connect(f"file:{self.folder}/subpay.db?mode=ro", uri=True) as db:
            return db.execute("SELECT count(*) FROM payments WHERE processing_status = 'completed'").fetchone()[0]

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        if self.process.wait(20) != 0:
            sys.exit("subpay did not end well")


@contextlib.contextmanager
def folder_of_all():
    """Removed at the end, whatever that is: who still works in it is killed before."""
    with tempfile.TemporaryDirectory(prefix="subpay-bench.") as folder:
        try:
            yield folder
        finally:
            for process in Subpay.running:
                process.kill()
                process.wait()


def load(port, path, args, *more):
    return run_json(BUILD / "bench/load", port, path, "--connections", args.connections, "--secret", SECRET, *more)


def accept_raw(args):
    process = subprocess.Popen([BUILD / "bench" / "hello"], stdout=subprocess.PIPE, text=True)
    try:
        return load(int(process.stdout.readline()), "/", args, "--requests", args.requests)
    finally:
        process.kill()
        process.wait()


def ours(args):
    """One run gives both figures: the rate of the 202s, and the time until the last payment is completed."""
    with folder_of_all() as folder:
        service = Subpay(folder)
        start = time.monotonic()
        accept = load(service.port, PAY, args, "--requests", args.requests)
        if accept["2xx"] != args.requests:
            sys.exit(f"not every request was accepted: {accept}")
        while service.completed() < args.requests:
            if time.monotonic() - start > 300:
                sys.exit(f"only {service.completed()} of {args.requests} payments were completed in 300 s")
            time.sleep(0.02)
        seconds = time.monotonic() - start
        service.stop()
        audit = subprocess.run([BUILD / "subpay", "audit"], env={"DATA_DIR": folder, "PATH": os.environ["PATH"]},
                               cwd=folder, capture_output=True, text=True, check=False)
        if audit.returncode != 0:
            sys.exit(f"the audit is not green: {audit.stdout}{audit.stderr}")
        return accept, {"payments": args.requests, "seconds": round(seconds, 3),
                        "per_second": round(args.requests / seconds)}


def commits_raw(args):
    with tempfile.TemporaryDirectory(prefix="subpay-bench.") as folder:
        return run_json(BUILD / "bench/commits", Path(folder) / "raw.db", args.requests, args.batch)


def heading(by_make=False):
    """What every result says first."""
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True,
                            check=False).stdout.strip()
    return {"at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "machine": {"cpu": model.group(1) if model else platform.machine(), "cores": os.cpu_count(),
                        "kernel": platform.release(), "load": [round(x, 1) for x in os.getloadavg()],
                        "filesystem": shutil.disk_usage(tempfile.gettempdir()).total // 2**30},
            "commit": commit,
            "command": "make bench" if by_make else " ".join([f"bench/{Path(sys.argv[0]).name}", *sys.argv[1:]])}


def save(result, kind=""):
    """Into bench/results; returns the path."""
    result["machine"]["load_at_end"] = [round(x, 1) for x in os.getloadavg()]
    path = ROOT / "bench" / "results" / (result["at"].replace(":", "") + kind + ".json")
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + "\n")
    print(f"written to {path.relative_to(ROOT)}")
    return path


def median(rows):
    return statistics.median(row["per_second"] for row in rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=20000)
    parser.add_argument("--connections", type=int, default=128)
    parser.add_argument("--batch", type=int, default=64, help="payments per commit of the raw run")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    end_at_sigterm()
    rows = {"hello": [], "accept": [], "commits": [], "end_to_end": []}
    for _ in range(args.rounds):
        rows["hello"].append(accept_raw(args))
        accept, end_to_end = ours(args)
        rows["accept"].append(accept)
        rows["end_to_end"].append(end_to_end)
        rows["commits"].append(commits_raw(args))
    result = {
        **heading(by_make=len(sys.argv) == 1),
        "accept_ratio": round(median(rows["accept"]) / median(rows["hello"]), 3),
        "end_to_end_ratio": round(median(rows["end_to_end"]) / median(rows["commits"]), 3),
        "rows": rows,
    }
    print(f"accept      {median(rows['accept']):8.0f} /s  of hello's {median(rows['hello']):8.0f} /s"
          f"  ratio {result['accept_ratio']}")
    print(f"end to end  {median(rows['end_to_end']):8.0f} /s  of SQLite's {median(rows['commits']):8.0f} /s"
          f"  ratio {result['end_to_end_ratio']}")
    save(result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
