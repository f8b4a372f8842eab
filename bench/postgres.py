#!/usr/bin/env python3
"""The ledger on PostgreSQL: does a payment cost more when there are many, and what do we add to the statements.

    growth  the verbs and the views on top of 100,000 and 1,000,000 payments (--full: and 10,000,000), filled by
            bench/fill.sql; every second new payment is of a known user. The sizes take turns. CPU seconds of the
            server per 1,000 are compared, because the rate of a machine that others use too says little.
    ratios  on top of the smallest size, ours beside libpq alone sending the same statements with the same
            parameters (they are recorded once, and replayed on copies of one database): the whole life; append
            beside only its inserts; look-ups. Ours and raw alternate, and the best of each are compared.

Growth is the median over the rounds, of each size against the smallest in the same round. Of ratios, and of what a
payment costs, the best counts, because others who use the machine only make things slower. All is written down.

A private cluster with durable settings. Written to bench/results as JSON, with a plot as SVG.
"""
import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median

from recording import (BIN, BUILD, ROOT, SETTINGS, Cluster, copy, drop, end_at_sigterm, heading, inserts, log_entries,
                       log_size, record, replay_file, run_lines, save)

MEMORY = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
# What docs/scaling.md recommends for production, and no checkpoint while it is measured.
OURS = {**SETTINGS, "shared_buffers": f"{MEMORY // 4 >> 20}MB", "max_wal_size": "16GB", "checkpoint_timeout": "6h"}
SLICE, USERS_PER_SLICE = 100_000, 20_000  # of bench/fill.sql
BATCH, REPEATS = 500, 3
VERBS = ["append", "claim", "settle", "untold", "told", "all"]
VIEWS = {"one": 5_000, "many": 500, "list": 5_000}
GOALS = {"growth": 1.2, "append": 0.8, "look-up": 0.6, "life": 0.8}


def psql(cluster, *arguments):
    done = subprocess.run([str(BIN / "psql"), cluster.url, "-Xq", "-v", "ON_ERROR_STOP=1", *arguments],
                          capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"psql failed: {done.stderr}")


# ---- what is there ----

def fill(cluster, first, last):
    start = time.monotonic()
    # As full as pages are when lives are over, or the next requests would find room in all the old pages.
    cluster.sql("ALTER TABLE payments SET (fillfactor = 55)")
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda number: psql(cluster, "-v", f"first={number}", "-v", f"last={number + SLICE - 1}", "-f",
                                          str(ROOT / "bench/fill.sql")), range(first, last, SLICE)))
    cluster.sql("ALTER TABLE payments SET (fillfactor = 50)")
    cluster.sql("VACUUM (ANALYZE)")
    return round(time.monotonic() - start, 1)


def huge_mb():
    """Of the machine's huge pages, what is taken: the server takes them if they are there (docs/scaling.md)."""
    found = dict(re.findall(r"HugePages_(Total|Free|Rsvd): *(\d+)", Path("/proc/meminfo").read_text()))
    return 2 * (int(found["Total"]) - int(found["Free"]) + int(found["Rsvd"]))


# ---- growth ----

def best(rows):
    return {"per_s": max(row["per_s"] for row in rows), "client": min(row["client"] for row in rows),
            "server": min(row["server"] for row in rows)}


def spread(rows):
    """The worst rate as a part of the best: how much of the machine was ours."""
    return round(min(row["per_s"] for row in rows) / max(row["per_s"] for row in rows), 2)


def written(cluster):
    return [int(cluster.sql(f"SELECT {column} FROM pg_stat_wal")) for column in ("wal_bytes", "wal_fpi")]


class Running:
    """A program that measures when it is asked, over connections that last as those of services do."""

    def __init__(self, *command):
        self.name = command[0]
        self.process = subprocess.Popen(list(map(str, command)), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, count):
        self.process.stdin.write(f"{count}\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        return json.loads(line) if line else sys.exit(f"{self.name} failed")

    def close(self):
        self.process.stdin.close()
        self.process.wait()


class Size:
    """A database with so many payments; the users of the new ones are those that this size has added."""

    def __init__(self, cluster, payments, new_from, fill_s, name):
        self.cluster, self.payments, self.fill_s, self.name = cluster, payments, fill_s, name
        self.users = (new_from * USERS_PER_SLICE // SLICE + 1, payments * USERS_PER_SLICE // SLICE)
        self.verbs, self.views = [], {kind: [] for kind in VIEWS}
        self.wal, self.plans = [0, 0], None
        self.ledger = self.readers = None

    @property
    def url(self):
        return self.cluster.url_of(self.name)

    def warm(self):
        """Until most pages have been written in full since the last checkpoint, as they are in a longer run."""
        self.ledger = Running(BUILD / "ledger", self.url, 0, BATCH, 0, *self.users)
        self.readers = {kind: Running(BUILD / "views", self.url, kind, 0, self.payments) for kind in VIEWS}
        self.ledger.ask(max(self.payments // 20, 2 * BATCH))
        self.cluster.sql("VACUUM accounts, payments", self.name)  # autovacuum is off

    def round(self, args):
        before = written(self.cluster)
        self.verbs.append(self.ledger.ask(args.slice))
        self.wal = [sum_ + now - then for sum_, now, then in zip(self.wal, written(self.cluster), before)]
        for kind, calls in VIEWS.items():
            self.views[kind].append(self.readers[kind].ask(calls))

    def close(self):
        for running in (self.ledger, *self.readers.values()):
            running.close()

    def result(self, args):
        count = len(self.verbs) * args.slice
        return {"payments": self.payments, "fill_s": self.fill_s,
                "bytes": int(self.cluster.sql(f"SELECT pg_database_size('{self.name}')")),
                "spread": spread([row["all"] for row in self.verbs]),
                "wal_bytes_per_payment": round(self.wal[0] / count),
                "full_pages_per_payment": round(self.wal[1] / count, 3), "plans": self.plans,
                "verbs": {name: best([row[name] for row in self.verbs]) for name in VERBS},
                "views": {kind: best(rows) for kind, rows in self.views.items()},
                "rows": {"verbs": self.verbs, "views": self.views}}


def plans(cluster, name, url, payments):
    """What the server says of its plans: scans of whole tables, and rows that were read for nothing."""
    cluster.sql(f"ALTER DATABASE {name} SET session_preload_libraries = 'auto_explain'")
    for option, value in {"log_min_duration": "0", "log_analyze": "on", "log_format": "json"}.items():
        cluster.sql(f"ALTER DATABASE {name} SET auto_explain.{option} = '{value}'")
    seen = log_size(cluster)
    run_lines(BUILD / "ledger", url, 2 * BATCH, BATCH)
    for kind in VIEWS:
        run_lines(BUILD / "views", url, kind, 10, payments)
    cluster.sql(f"ALTER DATABASE {name} RESET ALL")
    wrong, count = set(), 0
    for entry in log_entries(cluster, seen):
        start = entry["message"].find("plan:\n")
        if start < 0:
            continue
        count += 1
        plan = json.loads(entry["message"][start + 6:])
        wrong |= {f"{flaw}: {plan['Query Text'][:90]}" for flaw in plan_flaws(plan["Plan"])}
    return {"looked_at": count, "wrong": sorted(wrong)}


def plan_flaws(node):
    for child in node.get("Plans", []):
        yield from plan_flaws(child)
    table = node.get("Relation Name")
    if node["Node Type"] == "Seq Scan" and table in ("payments", "accounts", "events", "subscriptions", "attempts"):
        yield f"all of {table} is read"
    if node.get("Rows Removed by Filter", 0) * node.get("Actual Loops", 1) > 1000:
        yield f"{node['Rows Removed by Filter']} rows of {table} are read for nothing"


# ---- ratios ----

def rate(row, payments):
    return {"per_s": payments / row["seconds"], "client": row["client"] / payments * 1000,
            "server": row["server"] / payments * 1000}


def ratio(ours, raw):
    o, r = best(ours), best(raw)
    return {"rate": round(o["per_s"] / r["per_s"], 3), "server_cpu": round(r["server"] / o["server"], 3),
            "cpu": round((r["server"] + r["client"]) / (o["server"] + o["client"]), 3),
            "spread": min(spread(ours), spread(raw)), "ours": ours, "raw": raw}


def life_ratios(cluster, folder, args):
    command = [BUILD / "ledger", copy(cluster, "recorded"), args.life, BATCH]
    calls = record(cluster, "recorded", command)
    done = cluster.sql("SELECT count(*) FROM payments WHERE processing_status = 'completed'", "recorded")
    drop(cluster, "recorded")
    files = {"life": replay_file(folder / "life", calls), "append": replay_file(folder / "append", inserts(calls))}
    rows = {"life": ([], []), "append": ([], [])}
    for _ in range(REPEATS):
        ours = run_lines(BUILD / "ledger", copy(cluster, "ours"), args.life, BATCH)[0]
        drop(cluster, "ours")
        rows["life"][0].append(ours["all"])
        rows["append"][0].append(ours["append"])
        for name, (_, raw) in rows.items():
            raw.append(rate(run_lines(BUILD / "replay", copy(cluster, "raw"), files[name])[0], args.life))
            if name == "life" and done != cluster.sql(
                    "SELECT count(*) FROM payments WHERE processing_status = 'completed'", "raw"):
                sys.exit("what was replayed did not do the same")
            drop(cluster, "raw")
    return {name: ratio(*pair) for name, pair in rows.items()}


def view_ratios(cluster, folder, payments, args):
    found = {}
    for kind, calls in VIEWS.items():
        command = [BUILD / "views", cluster.url, kind, calls, payments]
        path = replay_file(folder / kind, record(cluster, cluster.database, command))
        ours, raw = [], []
        for _ in range(2 * REPEATS):
            ours.append(run_lines(*command)[0])
            raw.append(rate(run_lines(BUILD / "replay", cluster.url, path)[0], calls))
        found[f"look-up {kind}"] = ratio(ours, raw)
    return found


# ---- the result ----

def plot(sizes, found, path):
    """CPU of the server per payment or call over the number of payments, each against the smallest."""
    width, height, left, bottom = 760, 400, 60, 50
    names = [("verbs", name) for name in VERBS] + [("views", name) for name in VIEWS]
    colours = ["#1f77b4", "#ff7f0e", "#2ca02c", "#9467bd", "#8c564b", "#000000", "#d62728", "#e377c2", "#17becf"]
    step = (width - left - 200) / max(len(sizes) - 1, 1)

    def y_of(value):
        return height - bottom - min(value, 2.5) / 2.5 * (height - bottom - 30)
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="sans-serif" '
           'font-size="12">', f'<rect width="{width}" height="{height}" fill="#fff"/>',
           f'<text x="{left}" y="18">CPU of the server per payment or call, as a multiple of the smallest size</text>']
    for tick in (0, 0.5, 1, 1.2, 1.5, 2, 2.5):
        colour = "#c00" if tick == GOALS["growth"] else "#ddd"
        out.append(f'<line x1="{left}" x2="{width - 200}" y1="{y_of(tick):.0f}" y2="{y_of(tick):.0f}" '
                   f'stroke="{colour}"/><text x="{left - 8}" y="{y_of(tick) + 4:.0f}" text-anchor="end">{tick}</text>')
    for i, size in enumerate(sizes):
        out.append(f'<text x="{left + i * step:.0f}" y="{height - bottom + 20}" text-anchor="middle">'
                   f'{size["payments"]:,}</text>')
    out.append(f'<text x="{(left + width - 200) / 2}" y="{height - 10}" text-anchor="middle">payments in the store'
               '</text>')
    for k, (group, name) in enumerate(names):
        values = [1, *(by_name[name]["server_cpu"] for by_name in found.values())]
        points = " ".join(f"{left + i * step:.0f},{y_of(value):.1f}" for i, value in enumerate(values))
        label = {"all": "whole life", "one": "one by id", "many": "64 by id", "list": "page of a user"}.get(name, name)
        out.append(f'<polyline points="{points}" fill="none" stroke="{colours[k]}" stroke-width="2"/>'
                   f'<rect x="{width - 185}" y="{40 + k * 20}" width="12" height="3" fill="{colours[k]}"/>'
                   f'<text x="{width - 167}" y="{46 + k * 20}">{label} {sizes[0][group][name]["server"]:.3f} ms</text>')
    path.write_text("\n".join([*out, "</svg>"]) + "\n")


def growth(sizes):
    """Of each size against the smallest in the same round, the median: CPU of the server, and the time it takes."""
    def rows(size, name):
        return size.views[name] if name in VIEWS else [row[name] for row in size.verbs]

    def ratio(size, name, of):
        return round(median(of(new) / of(old) for new, old in zip(rows(size, name), rows(sizes[0], name))), 2)
    return {str(size.payments): {name: {"server_cpu": ratio(size, name, lambda row: row["server"]),
                                        "time": ratio(size, name, lambda row: 1 / row["per_s"])}
                                 for name in [*VERBS, *VIEWS]} for size in sizes[1:]}


def show(result):
    for size in result["sizes"]:
        print(f"{size['payments']:>11,} payments, {size['bytes'] / 1e9:.1f} GB, filled in {size['fill_s']} s; "
              f"WAL {size['wal_bytes_per_payment']} B"
              f" and {size['full_pages_per_payment']} full pages a payment; spread {size['spread']}")
        for group, names in (("verbs", VERBS), ("views", VIEWS)):
            print("            " + "  ".join(
                f"{name} {size[group][name]['per_s']:.0f}/s {size[group][name]['server']:.3f}" for name in names))
        print(f"            plans: {size['plans']['looked_at']} looked at, wrong: {size['plans']['wrong'] or 'none'}")
    for size, found in result["growth"].items():
        print(f"growth to {int(size):,} (goal <= {GOALS['growth']}), CPU of the server (time): "
              + "  ".join(f"{name} {x['server_cpu']} ({x['time']})" for name, x in found.items()))
    for name, found in result["ratios"].items():
        print(f"{name:13} {found['rate']} of raw by rate, {found['server_cpu']} by CPU of the server, "
              f"{found['cpu']} by all CPU; spread {found['spread']} (goal >= {GOALS[name.split()[0]]})")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="also 10,000,000 payments: 30 GB and as much WAL, an hour")
    parser.add_argument("--sizes", type=int, nargs="+", help=f"instead; multiples of {SLICE}")
    parser.add_argument("--slice", type=int, default=1000, help="payments of a round of a size")
    parser.add_argument("--life", type=int, default=5000, help="payments of a run of the ratios")
    parser.add_argument("--rounds", type=int, default=12, help="in which the sizes take turns")
    parser.add_argument("--shared-buffers", default=OURS["shared_buffers"], help="a quarter of the memory")
    args = parser.parse_args()
    end_at_sigterm()
    settings = {**OURS, "shared_buffers": args.shared_buffers}
    wanted = args.sizes or [100_000, 1_000_000] + ([10_000_000] if args.full else [])
    result = {**heading(), "settings": settings, "goals": GOALS, "sizes": []}
    with tempfile.TemporaryDirectory(prefix="subpay-bench.") as folder, Cluster(**settings) as cluster:
        result |= {"server": cluster.sql("SHOW server_version"), "huge_mb": huge_mb()}
        run_lines(BUILD / "ledger", cluster.url, 1, 1)  # and the tables
        sizes, filled = [], 0
        for payments in sorted(wanted):
            seconds = fill(cluster, filled + 1, payments)
            name = cluster.database if payments == max(wanted) else f"with_{payments}"
            if name != cluster.database:
                copy(cluster, name)
            sizes.append(Size(cluster, payments, filled, seconds, name))
            if filled == 0:
                result["ratios"] = {**life_ratios(cluster, Path(folder), args),
                                    **view_ratios(cluster, Path(folder), payments, args)}
            filled = payments
        cluster.sql("CHECKPOINT")
        for size in sizes:
            size.warm()
        for _ in range(args.rounds):
            for size in sizes:
                size.round(args)
        for size in sizes:
            size.close()
            size.plans = plans(cluster, size.name, size.url, size.payments)
        result |= {"sizes": [size.result(args) for size in sizes], "growth": growth(sizes)}
    show(result)
    plot(result["sizes"], result["growth"], save(result, "-postgres").with_suffix(".svg"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
