#!/usr/bin/env python3
"""The two ratios that are kept from the first day, each against the raw limit in the same run:

    accept      requests a second that are answered 202, beside the HTTP library's own hello
    end to end  payments a second from POST to completed, beside SQLite's own rate for the same rows and commits

Runs alternate (raw, ours, raw, ours, …), medians are compared. Written to bench/results with machine and command.
"""
import argparse
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
BUILD = ROOT / "build"
SECRET = "benchmark-benchmark-benchmark-benchmark"


def run_json(*command):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{command[0]} failed: {done.stderr}")
    return json.loads(done.stdout)


class Subpay:
    """A whole service in a folder of its own, on free ports."""

    def __init__(self, folder):
        self.folder = Path(folder)
        environment = {"PATH": os.environ["PATH"], "DATA_DIR": str(self.folder), "JWT_SECRET_KEY": SECRET,
                       "SUBSCRIPTION_APP_LISTEN": "127.0.0.1:0", "PROCESSING_LISTEN": "127.0.0.1:0",
                       "OPS_LISTEN": "127.0.0.1:0", "PROCESSING_LATENCY_MS": "0-0",
                       "PROCESSING_OUTCOMES": "success=1", "LOG_LEVEL": "warn"}
        self.process = subprocess.Popen([BUILD / "subpay", "run"], env=environment, cwd=folder,
                                        stdout=subprocess.PIPE, text=True)
        self.port = None
        for line in self.process.stdout:
            found = re.search(r"http://127\.0\.0\.1:(\d+)/api/openapi", line)
            if found:
                self.port = int(found.group(1))
            if "subpay is ready" in line:
                break
        if self.port is None:
            sys.exit("subpay did not start")

    def completed(self):
        with sqlite3.connect(f"file:{self.folder}/subpay.db?mode=ro", uri=True) as db:
            return db.execute("SELECT count(*) FROM payments WHERE processing_status = 'completed'").fetchone()[0]

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        if self.process.wait(20) != 0:
            sys.exit("subpay did not end well")


def accept_raw(args):
    process = subprocess.Popen([BUILD / "bench" / "hello"], stdout=subprocess.PIPE, text=True)
    try:
        port = int(process.stdout.readline())
        return run_json(BUILD / "bench/load", port, "/", "--connections", args.connections,
                        "--requests", args.requests, "--secret", SECRET)
    finally:
        process.kill()
        process.wait()


def ours(args):
    """One run gives both figures: the rate of the 202s, and the time until the last payment is completed."""
    with tempfile.TemporaryDirectory(prefix="subpay-bench.") as folder:
        service = Subpay(folder)
        start = time.monotonic()
        accept = run_json(BUILD / "bench/load", service.port,
                          "/api/v1/payments/?payment_type=payment&subscription_type=month",
                          "--connections", args.connections, "--requests", args.requests, "--secret", SECRET)
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


def machine():
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    return {"cpu": model.group(1) if model else platform.machine(), "cores": os.cpu_count(),
            "kernel": platform.release(), "filesystem": shutil.disk_usage(tempfile.gettempdir()).total // 2**30}


def median(rows):
    return statistics.median(row["per_second"] for row in rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=20000)
    parser.add_argument("--connections", type=int, default=128)
    parser.add_argument("--batch", type=int, default=64, help="payments per commit of the raw run")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    rows = {"hello": [], "accept": [], "commits": [], "end_to_end": []}
    for _ in range(args.rounds):
        rows["hello"].append(accept_raw(args))
        accept, end_to_end = ours(args)
        rows["accept"].append(accept)
        rows["end_to_end"].append(end_to_end)
        rows["commits"].append(commits_raw(args))
    result = {
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "machine": machine(),
        "commit": subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True,
                                 check=False).stdout.strip(),
        "command": "make bench" if len(sys.argv) == 1 else " ".join(["bench/run.py", *sys.argv[1:]]),
        "accept_ratio": round(median(rows["accept"]) / median(rows["hello"]), 3),
        "end_to_end_ratio": round(median(rows["end_to_end"]) / median(rows["commits"]), 3),
        "rows": rows,
    }
    print(f"accept      {median(rows['accept']):8.0f} /s  of hello's {median(rows['hello']):8.0f} /s"
          f"  ratio {result['accept_ratio']}")
    print(f"end to end  {median(rows['end_to_end']):8.0f} /s  of SQLite's {median(rows['commits']):8.0f} /s"
          f"  ratio {result['end_to_end_ratio']}")
    path = ROOT / "bench" / "results" / (result["at"].replace(":", "") + ".json")
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + "\n")
    print(f"written to {path.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
