#!/usr/bin/env python3
"""Run the test stages, one after the other, and end with the sum: `N passed, N failed, N skipped`.

Every stage counts its own cases; a stage that cannot start is one failure, never silence.
"""
import os
import re
import shutil
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import kafka

ROOT = Path(__file__).resolve().parent.parent
WITHOUT_SERVERS = ("--no-suite", "postgres", "--no-suite", "kafka")
SANITIZER_SEEDS = "150"  # a sanitized world is about ten times slower


class Count:
    def __init__(self, passed=0, failed=0, skipped=0):
        self.passed, self.failed, self.skipped = passed, failed, skipped

    def add(self, other):
        self.passed += other.passed
        self.failed += other.failed
        self.skipped += other.skipped
        return self

    def __str__(self):
        return f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped"


def run(command, **kwargs):
    return subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, check=False, **kwargs).returncode


def count_junit(path):
    """Counts the cases of a JUnit file; a file that is not there is a failure."""
    if not path.exists():
        print(f"no report {path}")
        return Count(failed=1)
    count = Count()
    for case in ElementTree.parse(path).getroot().iter("testcase"):
        if case.find("failure") is not None or case.find("error") is not None:
            count.failed += 1
        elif case.find("skipped") is not None:
            count.skipped += 1
            why = case.findtext("system-err") or case.find("skipped").get("message") or "it does not say why"
            print(f"skipped {case.get('name')}: {why.strip()}")
        else:
            count.passed += 1
    return count


def meson(folder, suites, environment=None, options=(), under=()):
    """under: the command that brings what they need."""
    report = ROOT / folder / "meson-logs" / "testlog.junit.xml"
    report.unlink(missing_ok=True)
    command = [*under, "meson", "test", "-C", folder, "--print-errorlogs", *options]
    for suite in suites:
        command += ["--suite", suite]
    code = run(command, env={**os.environ, **(environment or {})})
    count = count_junit(report)
    if code != 0 and count.failed == 0:
        count.failed = 1
    return count


def sanitized(folder, sanitizer, suites, environment):
    """Builds with a sanitizer and runs suites under it: a report is a failure."""
    path = ROOT / folder
    if not (path / "build.ninja").exists():
        shutil.rmtree(path, ignore_errors=True)
        code = run(["meson", "setup", folder, f"-Db_sanitize={sanitizer}", "-Db_lundef=false",
                    "-Dtests=true", "-Dwerror=false"], stdout=subprocess.DEVNULL)
        if code != 0:
            return Count(failed=1)
    if run(["ninja", "-C", folder, "--quiet"]) != 0:
        return Count(failed=1)
    return meson(folder, suites, {"SUBPAY_SEEDS": SANITIZER_SEEDS, **environment}, ["-t", "10", *WITHOUT_SERVERS])


POSTGRES = ("/usr/bin/python3", "tests/postgres.py")
KAFKA = ("/usr/bin/python3", "tests/kafka.py")


def stage_house():
    """Layout, directions, banned calls, format, generated documents."""
    return pytest("house")


def stage_check():
    """Rules, unit, contract, simulated worlds: what `make check` runs. What wants a server has stages of its own."""
    return meson("build", ["unit", "contract", "sim", "prove"], options=WITHOUT_SERVERS)


def stage_asan():
    """The same under AddressSanitizer and UndefinedBehaviorSanitizer."""
    return sanitized("build-asan", "address,undefined", ["unit", "contract", "sim"], {
        "ASAN_OPTIONS": "detect_leaks=1:abort_on_error=1",
        "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1"})


def stage_tsan():
    """What has threads, under ThreadSanitizer."""
    return sanitized("build-tsan", "thread", ["unit", "contract"],
                     {"TSAN_OPTIONS": "halt_on_error=1"})


def pytest(folder, environment=None, under=()):
    report = ROOT / "build" / f"pytest-{folder.replace('/', '-')}{'-served' if under else ''}.xml"
    report.unlink(missing_ok=True)
    code = run([*under, "/usr/bin/python3", "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider",
                f"tests/{folder}", f"--junitxml={report}"], env={**os.environ, **(environment or {})})
    count = count_junit(report)
    if code != 0 and count.failed == 0:
        count.failed = 1
    return count


def stage_postgres():
    """The contract of the store on a server of PostgreSQL, and what only PostgreSQL has."""
    return meson("build", ["store", "postgres"], {"SUBPAY_TEST_STORE": "postgres"}, under=(*POSTGRES, "--pooled"))


def stage_races():
    """Connections to PostgreSQL stepped through each other, statement by statement (all orders: by hand, CONTRIBUTING)."""
    return meson("build", ["races"], {"SUBPAY_RACES_BOUND": os.environ.get("SUBPAY_RACES_BOUND", "60")}, under=POSTGRES)


def stage_kafka():
    """The contract of the queue on brokers of Apache Kafka 3.9 and 4, and what only Kafka has; TLS and logins on 4."""
    count = meson("build", ["kafka"], under=KAFKA)
    newer = {"SUBPAY_KAFKA_VERSION": "4.3.1", "SUBPAY_TEST_ENGINES": "distributed"}
    try:
        kafka.jars(newer["SUBPAY_KAFKA_VERSION"])
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"skipped all on Kafka 4: its jars cannot be had: {error}")
        return count.add(Count(skipped=1))
    count.add(meson("build", ["kafka"], newer, under=KAFKA))
    return count.add(pytest("flow/test_kafka_secured.py", newer, under=POSTGRES))


def stage_crash():
    """Every crash point in every scenario, killed at its first passing (all three: make faults)."""
    path = ROOT / "build-crash"
    if not (path / "build.ninja").exists():
        shutil.rmtree(path, ignore_errors=True)
        if run(["meson", "setup", "build-crash", "-Dcrash_points=true"], stdout=subprocess.DEVNULL) != 0:
            return Count(failed=1)
    if run(["ninja", "-C", "build-crash", "--quiet", "subpay"]) != 0:
        return Count(failed=1)
    return pytest("crash", {"SUBPAY_BINARY": str(path / "subpay"),
                            "SUBPAY_CRASH_HITS": os.environ.get("SUBPAY_CRASH_HITS", "1")})


def stage_flow():
    """The real process: from HTTP to mail, SIGKILL, configuration, topics, audit."""
    return pytest("flow")


def stage_distributed():
    """The same on PostgreSQL and Kafka, and each service as a process of its own."""
    return pytest("flow", {"SUBPAY_TEST_ENGINES": "distributed"}, under=(*POSTGRES, *KAFKA))


def stage_compose():
    """compose.yaml as processes: PostgreSQL, Kafka, nginx, the five services, in their order; the Dockerfile."""
    return pytest("compose")


def stage_browser():
    """The API page in Chromium, the API against its own document."""
    return pytest("browser")


STAGES = {name[len("stage_"):]: function for name, function in list(globals().items())
          if re.match(r"stage_", name)}


def main():
    names = sys.argv[1:]
    if names == ["--list"]:
        for name, function in STAGES.items():
            print(f"{name:10} {function.__doc__}")
        return 0
    unknown = [name for name in names if name not in STAGES]
    if unknown:
        print(f"no such stage: {unknown[0]}; there are: {' '.join(STAGES)}", file=sys.stderr)
        return 2
    total, lines = Count(), []
    for name in names or STAGES:
        print(f"== {name}: {STAGES[name].__doc__}", flush=True)
        start = time.monotonic()
        count = STAGES[name]()
        total.add(count)
        lines.append(f"{name:10} {count} ({time.monotonic() - start:.0f} s)")
        print(lines[-1], flush=True)
    print("\n== all stages\n" + "\n".join(lines))
    print(total)
    return 1 if total.failed or not total.passed else 0


if __name__ == "__main__":
    sys.exit(main())
