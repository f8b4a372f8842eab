#!/usr/bin/env python3
"""What the process costs when nobody asks for anything: time to ready, memory and CPU at rest.

    bench/rest.py [--settle 60] [--look 60]
"""
import argparse
import json
import os
import time

from run import Subpay, end_at_sigterm, folder_of_all  # the same start as in the benchmark


def cpu_seconds(pid):
    fields = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_kib(pid):
    return int(open(f"/proc/{pid}/status").read().split("VmRSS:")[1].split()[0])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--settle", type=float, default=60)
    parser.add_argument("--look", type=float, default=60)
    args = parser.parse_args()
    end_at_sigterm()
    with folder_of_all() as folder:
        start = time.monotonic()
        service = Subpay(folder)
        ready = time.monotonic() - start
        time.sleep(args.settle)
        before = cpu_seconds(service.process.pid)
        time.sleep(args.look)
        used = cpu_seconds(service.process.pid) - before
        print(json.dumps({"ready_seconds": round(ready, 3), "resident_mib": round(resident_kib(service.process.pid) / 1024, 1),
                          "cpu_percent_of_a_core": round(100 * used / args.look, 3), "looked_seconds": args.look}))
        service.stop()


if __name__ == "__main__":
    main()
