"""A cluster that can say what it was sent; what it was sent as a file for `replay`."""
import json
import re
import struct
import subprocess
import sys

from run import BUILD as OURS, ROOT, end_at_sigterm, heading, save  # noqa: F401
from postgres import BIN, Cluster  # noqa: F401 (of tests)

BUILD = OURS / "bench"
SETTINGS = {"shared_buffers": "512MB", "max_wal_size": "4GB", "checkpoint_timeout": "30min", "autovacuum": "off",
            "logging_collector": "on", "log_destination": "jsonlog", "log_filename": "statements.log",
            "log_rotation_size": "0", "log_checkpoints": "off"}
SIMPLE = NONE = 0xFFFFFFFF


def run_lines(*command):
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{command[0]} failed: {done.stderr}")
    return [json.loads(line) for line in done.stdout.splitlines()]


def copy(cluster, name):
    cluster.sql(f"CREATE DATABASE {name} TEMPLATE {cluster.database} STRATEGY file_copy", "postgres")
    return cluster.url_of(name)


def drop(cluster, name):
    cluster.sql(f"DROP DATABASE {name} WITH (FORCE)", "postgres")


def log_path(cluster):
    return next((cluster.folder / "data/log").glob("*.json"))


def log_size(cluster):
    return log_path(cluster).stat().st_size


def log_entries(cluster, start):
    with open(log_path(cluster), "rb") as log:
        log.seek(start)
        return [json.loads(line) for line in log]


def parameters(detail):
    """$1 = 'it''s', $2 = NULL"""
    found = re.findall(r"\$\d+ = (?:'((?:[^']|'')*)'|NULL)(?:, |$)", detail) if detail else []
    nulls = re.findall(r"\$\d+ = ('|NULL)", re.sub(r"'(?:[^']|'')*'", "'", detail)) if detail else []
    assert len(found) == len(nulls), detail[:200]
    return [None if null == "NULL" else value.replace("''", "'") for value, null in zip(found, nulls)]


def record(cluster, name, command):
    """[(text, parameters or None when it was sent as it is)] of the connection that sent most."""
    cluster.sql(f"ALTER DATABASE {name} SET log_statement = 'all'", "postgres")
    start = log_size(cluster)
    run_lines(*command)
    cluster.sql(f"ALTER DATABASE {name} RESET ALL", "postgres")
    sessions = {}
    for entry in log_entries(cluster, start):
        found = re.match(r"(statement|execute [^:]+): (.*)", entry["message"], re.S)
        if not found or entry.get("dbname") != name:
            continue
        detail = (entry.get("detail") or "").removeprefix("parameters: ")
        sessions.setdefault(entry["session_id"], []).append(
            (found.group(2), None if found.group(1) == "statement" else parameters(detail)))
    return max(sessions.values(), key=len)


def settings_of(calls):
    """What a connection says of itself before it works, and the rest."""
    first = next(i for i, (text, _) in enumerate(calls) if not text.lstrip().upper().startswith(("SET", "SELECT SET")))
    return [text for text, _ in calls[:first]], calls[first:]


def replay_file(path, calls):
    settings, calls = settings_of(calls)
    index, statements = {}, []
    for text, values in calls:
        if index.setdefault((text, values is None), len(statements)) == len(statements):
            statements.append((text, values is None))

    def number(n):
        return struct.pack("=I", n)

    def word(text):
        raw = text.encode()
        return number(len(raw)) + raw + b"\0"

    with open(path, "wb") as out:
        out.write(number(len(settings)) + b"".join(map(word, settings)) + number(len(statements)))
        out.write(b"".join(number(int(simple)) + word(text) for text, simple in statements) + number(len(calls)))
        for text, values in calls:
            out.write(number(index[text, values is None]) + number(SIMPLE if values is None else len(values)))
            out.write(b"".join(number(NONE) if value is None else word(value) for value in values or []))
    return path


def transactions(calls):
    open_one = []
    for call in calls:
        open_one.append(call)
        if call[0].upper().startswith(("COMMIT", "ROLLBACK")):
            yield open_one
            open_one = []


def inserts(calls):
    """Of the transactions that append, only what stores rows."""
    settings, calls = settings_of(calls)
    kept = [(text, None) for text in settings]
    for one in transactions(calls):
        if any(text.startswith("INSERT INTO payments") for text, _ in one):
            kept += [call for call in one if call[0].startswith(("BEGIN", "INSERT INTO ", "COMMIT"))]
    return kept
