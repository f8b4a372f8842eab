#!/usr/bin/env python3
"""SIGKILLs of the real process under load, with a processing that misbehaves: nothing that was answered 202 is lost,
nothing is charged twice, and the audit is green. Prints the table of docs/rules.

    tests/faults/kills.py [--kills 1000] [--seed 1] [--every 100]
"""
import argparse
import random
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from children import end_at_sigterm  # noqa: E402
from process import Subpay, kept_folder, until  # noqa: E402

FAULTS = {"PROCESSING_FAULTS": "timeout=0.01,drop=0.02,500=0.02", "PROCESSING_TIMEOUT_MS": "1000",
          "PROCESSING_OUTCOMES": "success=0.85,decline=0.1,error=0.05", "LOG_LEVEL": "error"}


def told(path):
    return {line for line in path.read_text().split("\n") if len(line) == 36}


def check(subpay, ids):
    """Start once more, let everything come to rest, and hold the books against what users were told."""
    subpay.start()
    subpay.rest(120)
    stored = {row[0] for row in subpay.rows("SELECT id FROM payments")}
    lost = ids - stored
    assert not lost, f"{len(lost)} requests that were answered 202 are lost, among them {sorted(lost)[:3]}"
    subpay.books_are_right()
    subpay.kill()
    return len(stored)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--every", type=int, default=100, help="kills between two looks at the books")
    args = parser.parse_args()
    end_at_sigterm()
    chance, ids, start = random.Random(args.seed), set(), time.monotonic()
    with kept_folder("kills") as folder:
        subpay = Subpay(folder, PROCESSING_SEED=args.seed, **FAULTS)
        path = Path(folder) / "ids"
        for kill in range(1, args.kills + 1):
            subpay.start()
            child = subpay.crowd(chance.randint(50, 400), chance.randint(1, 3), path, connections=chance.randint(1, 32))
            moment = time.monotonic() + chance.uniform(0, 0.25)  # any moment is as good as another
            until(lambda: time.monotonic() >= moment, "the moment has come")
            subpay.kill()
            child.communicate(timeout=60)
            ids |= told(path)
            if kill % args.every == 0 or kill == args.kills:
                stored = check(subpay, ids)
                print(f"{kill} kills, {len(ids)} requests answered 202, {stored} stored, 0 lost, 0 double,"
                      f" audit green, {time.monotonic() - start:.0f} s", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
