"""What only the distributed engines have: each service a process of its own, any number of each, and engines that go away
and come back."""
import concurrent.futures
import contextlib
import itertools
import json
import re
import signal
import subprocess
import time
import uuid

import distributed
import pytest
from conftest import BINARY, until
from kafka import Broker
from postgres import Cluster

pytestmark = pytest.mark.distributed

SERVICES = ("subscription-app", "saver", "processor", "processing", "notifier")
ORIGINAL = '{"payment_id":"month","topic":"payments","status":"new","payment_type":"payment"}'
FAULTS = {"PROCESSING_FAULTS": "timeout=0.02,drop=0.02,500=0.02", "PROCESSING_TIMEOUT_MS": "1000",
          "PROCESSING_OUTCOMES": "success=0.9,decline=0.08,error=0.02", "PROCESSING_SEED": "7"}


@pytest.fixture
def system(make_subpay):
    """Of one store and one topic; the processes are added by name."""
    def make(*services, **how):
        return System(make_subpay, **how).add(*services)
    return make


class System:
    def __init__(self, make_subpay, **how):
        self.make_subpay, self.numbers = make_subpay, itertools.count()
        self.console = make_subpay("console", **how)  # for commands: it runs no service
        self.running = {}

    def add(self, *services):
        for service in services:
            self.start(service, f"{service}-{next(self.numbers)}")
        return self

    def start(self, service, name):
        self.console.with_engines()
        one = self.running[name] = self.make_subpay(name)
        one.engines, one.topic, one.data = self.console.engines, self.console.topic, self.console.data
        one.environment = self.console.environment
        one.start(service)
        simulator = re.search(r"processing +(http://\S+)", one.output)
        if simulator:
            self.console.environment["PROCESSOR"] = simulator.group(1)
            self.console.environment["PROCESSING_LISTEN"] = simulator.group(1).removeprefix("http://")
        return one

    def of(self, service):
        return [one for name, one in self.running.items() if name.startswith(service + "-")]

    @property
    def api(self):
        return self.of("subscription-app")[0]

    def stop(self):
        for one in self.running.values():
            one.stop()
        self.running = {}


def health(one):
    answer = one.request("GET", "/health/ready", port=one.ops)
    return answer.status, {part["part"]: part["why"] for part in answer.json["failing"]}


def resident_kb(one):
    with open(f"/proc/{one.process.pid}/status", encoding="ascii") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))


def people(count):
    return [str(uuid.uuid4()) for _ in range(count)]


def one_line(done, *words):
    lines = done.stderr.strip().split("\n")
    assert len(lines) == 1, done.stderr
    for word in words:
        assert word in lines[0], lines[0]


# ---- processes ----


def test_each_service_is_a_process(system, user):
    five = system("processing", "subscription-app", "saver", "processor", "notifier")
    payment_id = five.api.pay(user).json["payment_id"]
    assert five.api.settled(user, payment_id)["payment_status"] == "accepted"
    assert [mail.stem for mail in (five.console.data / "mail").glob("*.eml")] == [payment_id]
    for name, one in five.running.items():
        until(lambda: health(one) == (200, {}), f"{name} is ready")
        assert one.request("GET", "/health/live", port=one.ops).status == 200
        metrics = one.request("GET", "/metrics", port=one.ops).body.decode()
        assert "# TYPE subpay_http_requests_total counter" in metrics, name
        assert (one.port is not None) == name.startswith("subscription-app")
    five.console.books_are_right()
    for name, one in five.running.items():
        asked = time.monotonic()
        one.stop()  # with exit code 0
        assert time.monotonic() - asked < 10, name


@pytest.mark.parametrize("service, port", zip(SERVICES, range(9101, 9106)))
def test_ops_ports(system, service, port):
    """Each has its own; a test does not know whether it is free, so the complaint is as good."""
    one = system().console.with_engines()
    del one.environment["OPS_LISTEN"]
    try:
        said = one.start(service).output
    except AssertionError:
        said = one.errors()
    assert f"127.0.0.1:{port}" in said


@pytest.mark.parametrize("service", ["run", "subscription-app", "saver", "processor", "notifier"])
def test_what_refuses_to_start(system, service):
    console = system().console.with_engines()
    one_line(console.cli(service, check=2, DATABASE_URL=""), "DATABASE_URL", "KAFKA")
    one_line(console.cli(service, check=2, KAFKA_BROKERS=""), "DATABASE_URL", "KAFKA_HOST")
    if service in ("run", "subscription-app"):
        one_line(console.cli(service, check=2, JWT_SECRET_KEY=""), "JWT_SECRET_KEY")
    with console.books() as db:
        db.execute("ALTER TABLE schema_migrations RENAME TO hidden")
    one_line(console.cli(service, check=2), "DATABASE_URL", "subpay migrate upgrade")
    with console.books() as db:
        db.execute("ALTER TABLE hidden RENAME TO schema_migrations")
        db.execute("INSERT INTO schema_migrations (number, name, applied_at, compatible_from)"
                   " VALUES (99, '0099_later', now(), 99)")
    one_line(console.cli(service, check=2), "DATABASE_URL", "revision 99")


def test_a_newer_schema_that_is_compatible(system, user):
    three = system()
    with three.console.with_engines().books() as db:
        db.execute("INSERT INTO schema_migrations (number, name, applied_at, compatible_from)"
                   " VALUES (99, '0099_later', now(), 1)")
    three.add("subscription-app")
    assert three.api.pay(user).status == 202


def test_without_the_topic(system, user):
    """Services never make one: they say what is missing, and go on once it is there."""
    two = system()
    console = two.console
    console.engines.make_database(console.environment)
    console.engines.made = True
    two.add("subscription-app", "saver")
    api, saver = two.api, two.of("saver")[0]
    until(lambda: health(api)[0] == 503 and health(saver)[0] == 503, "neither is ready")
    assert "queue" in health(api)[1]["subscription-app"] and "queue" in health(saver)[1]["saver"]
    until(lambda: all(console.topic in one.errors() or "topic" in one.errors() for one in (saver,)), "it is in the log")
    answer = api.pay(user, key="k")
    assert answer.status == 503 and answer.json["payment_id"]
    assert console.topic not in console.cli("topic", "list").stdout.split()
    console.cli("topic", "check", console.topic, check=1)
    console.cli("topic", "create", console.topic)
    assert api.pay(user, key="k").json["payment_id"] == answer.json["payment_id"]
    until(lambda: console.rows("SELECT count(*) FROM payments") == [(1,)], "it is stored", 15)
    until(lambda: health(saver)[0] == 200 and health(api)[0] == 200, "both are ready", 20)


def test_two_of_each(system, tmp_path):
    """Under load each is killed in turn and started again; the processing misbehaves."""
    nine = system("processing", "subscription-app", "subscription-app", "saver", "saver", "processor", "processor",
                  "notifier", "notifier", **FAULTS)
    children, ids = [], set()

    def load(one):
        path = tmp_path / f"ids{len(children)}"
        children.append((one.crowd(1500, 3, path, connections=16), path))

    for one in nine.of("subscription-app"):
        load(one)
    victims = [name for name in nine.running if not name.startswith("subscription-app")][::2] + ["subscription-app-1"]
    for name in victims:
        before = nine.console.rows("SELECT count(*) FROM events")
        nine.running[name].kill()
        one = nine.start(name.rpartition("-")[0], name)
        if one.port:
            load(one)
        until(lambda: nine.console.rows("SELECT count(*) FROM events") > before, f"it goes on after {name}", 15)
    for child, path in children:
        child.communicate(timeout=60)  # the one of a killed API ends when its connections break
        ids |= {line for line in path.read_text().split("\n") if line}
    nine.console.rest(90)  # the killed notifier's lease is 60 s
    stored = {row[0] for row in nine.console.rows("SELECT id FROM payments")}
    assert len(ids) > 1000 and not ids - stored
    nine.console.books_are_right()
    nine.stop()


@pytest.mark.parametrize("how, seconds", [("kill", 10), ("stop", 5)])
def test_a_savers_partitions_are_taken_over(system, how, seconds):
    four = system("subscription-app", "saver", "saver")
    console = four.console
    for user in people(12):  # so that both have something
        four.api.pay(user)
    until(console.is_read, "all is stored", 15)
    getattr(four.of("saver")[0], how)()
    gone = time.monotonic()
    while not console.is_read() or time.monotonic() - gone < 0.5:
        four.api.pay(people(1)[0])
        assert time.monotonic() - gone < seconds + 1
    assert console.rows("SELECT count(*) FROM positions") == [(3,)]


def test_what_a_dead_processor_leaves(system, user):
    """The other one asks for it: the same key, one charge."""
    system = system("processing", "subscription-app", "saver", "processor", "notifier", PROCESSING_LATENCY_MS="500-500",
                    PROCESSING_TIMEOUT_MS="2000")
    payment_id = system.api.pay(user).json["payment_id"]
    until(lambda: system.console.rows("SELECT 1 FROM payments WHERE processing_status = 'in_processing'"), "it is sent")
    system.of("processor")[0].kill()
    system.add("processor")
    assert system.api.settled(user, payment_id, 7)["payment_status"] == "accepted"
    assert len(system.console.journal()) == 1


# ---- topics ----


def test_topic_create_and_check(system):
    console = system().console
    create, topic = ("topic", "create", console.topic), console.topic
    console.cli(*create, "--partitions", "0", check=2)
    console.cli(*create, "--partitions", "5")
    console.cli(*create)  # again: any number will do
    console.cli(*create, "--partitions", "5")
    assert "5" in console.cli(*create, "--partitions", "6", check=1).stderr
    assert {topic, topic + ".rejected"} <= set(console.cli("topic", "list").stdout.split())
    assert f"{topic}\tpartitions 5\treplicas 1\t" in console.cli("topic", "check", topic).stdout
    assert "keeps" in console.cli("topic", "check", topic).stdout
    distributed.tool("kafka-configs", "--alter", "--entity-type", "topics", "--entity-name", topic, "--add-config",
                     "retention.ms=3600000")
    assert "168" in console.cli("topic", "check", topic, check=1).stderr


def test_rewind_of_all_partitions_changes_nothing(subpay):
    tables = ("SELECT * FROM payments ORDER BY seq", "SELECT * FROM events ORDER BY seq", "SELECT * FROM subscriptions")
    for user in people(12):
        subpay.pay(user)
    subpay.rest()
    before = [subpay.rows(table) for table in tables], subpay.journal()
    offsets = dict(subpay.rows("SELECT partition, next FROM positions"))
    assert len(offsets) == 3 and sum(offsets.values()) == 12
    done = subpay.cli("topic", "rewind", subpay.topic, "--beginning")
    assert done.stdout == "".join(f"{subpay.topic} {p}: {offsets[p]} -> 0\n" for p in range(3))
    until(subpay.is_read, "all is read again", 10)
    subpay.cli("topic", "rewind", subpay.topic, "--to", "0", check=2)  # of which partition?
    assert subpay.cli("topic", "rewind", subpay.topic, "--to", "0", "--partition", "1").stdout == \
        f"{subpay.topic} 1: {offsets[1]} -> 0\n"
    until(subpay.is_read, "one is read again", 10)
    assert before == ([subpay.rows(table) for table in tables], subpay.journal())
    assert subpay.audit()["ok"]


def test_put_back(system, user):
    two = system("saver")
    console, rejected = two.console, two.console.topic + ".rejected"
    value = json.dumps({"payment_type": "payment", "subscription_type": "month", "requested_at": "2019-12-31T23:59:59Z"})
    console.cli("topic", "produce", console.topic, "-K", "|", stdin=f"{user}|{value}\n")

    def are_rejected(count):
        until(lambda: distributed.next_offsets(rejected, 1) == {0: count}, f"{count} are rejected", 15)
    are_rejected(1)
    for wrong in (("--offset", "0"), ("--partition", "0"), ("--partition", "x", "--offset", "0")):
        console.cli("topic", "put-back", rejected, *wrong, check=2)
    console.cli("topic", "put-back", console.topic, "--partition", "0", "--offset", "0", check=2)
    assert "allowed are 0 to 0" in console.cli("topic", "put-back", rejected, "--partition", "0", "--offset", "1",
                                              check=1).stderr
    console.cli("topic", "put-back", rejected, "--partition", "0", "--offset", "0")
    are_rejected(2)  # there is still no price of that day
    done = console.cli("topic", "consume", console.topic, "--from-beginning", "--max-messages", "2")
    assert done.stdout == f"{user}\t{value}\n" * 2


def test_the_tools_of_kafka(system):
    """The three commands of the original description: a topic made by them, requests typed, ours read."""
    one = system()
    console, (a, b, c, d) = one.console, people(4)
    console.engines.make_database(console.environment)
    distributed.tool("kafka-topics", "--create", "--topic", console.topic, "--partitions", "3", "--replication-factor", "1")
    console.engines.made = True
    console.start()
    body = json.dumps({"user_id": b, "payment_type": "payment", "subscription_type": "year"})
    distributed.tool("kafka-console-producer", "--topic", console.topic, stdin=body + "\n")
    distributed.tool("kafka-console-producer", "--topic", console.topic, "--property", "parse.key=true", "--property",
                     "key.separator=|", stdin=f"{a}:month|{ORIGINAL}\n" + c + "|" + json.dumps(
                         {"payment_type": "cancellation", "subscription_type": "month"}) + "\n")
    ours = console.pay(d).json["payment_id"]
    until(lambda: console.rows("SELECT count(*) FROM payments") == [(4,)], "all are stored")
    console.rest()
    assert {row[0]: row[1:] for row in console.rows(
        "SELECT user_id, payment_type, subscription_type, payment_status FROM payments")} == {
            a: ("payment", "month", "accepted"), b: ("payment", "year", "accepted"), c: ("refund", "month", "error"),
            d: ("payment", "month", "accepted")}
    read = distributed.tool("kafka-console-consumer", "--topic", console.topic, "--from-beginning", "--max-messages", "4",
                            "--property", "print.key=true")
    records = dict(line.split("\t", 1) for line in read.splitlines())
    assert records[f"{a}:month"] == ORIGINAL and records["null"] == body
    assert json.loads(records[d])["payment_id"] == ours and json.loads(records[d])["user_id"] == d
    console.books_are_right()


# ---- engines that go away ----


def in_time(call, seconds):
    begun = time.monotonic()
    answer = call()
    assert time.monotonic() - begun < seconds, f"{time.monotonic() - begun} s: {answer}"
    return answer


@pytest.fixture(scope="module")
def broker():
    """Not the one that all share: it has less to look through when it comes back."""
    with Broker() as made:
        yield made


@pytest.fixture(scope="module")
def cluster():
    """Nor this one: the connections of others are not to break."""
    with Cluster() as made:
        yield made


@pytest.mark.parametrize("how", ["killed", "paused"])
def test_kafka_is_away(make_subpay, broker, how):
    subpay = make_subpay(broker=broker.bootstrap).start()
    crowd = people(40)
    subpay.settled(crowd[0], subpay.pay(crowd[0], key="before").json["payment_id"])
    before = resident_kb(subpay)
    broker.stop(kill=True) if how == "killed" else broker.pause()
    try:
        tokens = [subpay.token(user) for user in crowd[1:]]
        with concurrent.futures.ThreadPoolExecutor(len(tokens)) as pool:
            answers = list(pool.map(lambda token: in_time(lambda: subpay.pay(None, token=token, key="k"), 5.5), tokens))
        assert {answer.status for answer in answers} == {503}, answers
        assert all(int(answer.headers["Retry-After"]) >= 1 for answer in answers)
        told = dict(zip(tokens, [answer.json["payment_id"] for answer in answers]))
        until(lambda: health(subpay)[0] == 503 and "queue" in health(subpay)[1]["subscription-app"], "it is not ready", 5)
        assert in_time(lambda: subpay.request("GET", "/api/v1/payments/", user=crowd[0]), 1).status == 200
        assert resident_kb(subpay) - before < 16_000
    finally:
        broker.start() if how == "killed" else broker.resume()
    begun = time.monotonic()
    until(lambda: subpay.pay(None, token=tokens[0], key="k").status == 202, "it takes requests again", 10)
    for token, payment_id in told.items():
        answer = subpay.pay(None, token=token, key="k")
        assert answer.status == 202 and answer.json["payment_id"] == payment_id
    until(lambda: subpay.rows("SELECT count(*) FROM payments") == [(40,)], "all are stored",
          10 - (time.monotonic() - begun) + 5)
    until(lambda: health(subpay) == (200, {}), "it is ready", 15)
    subpay.rest()
    subpay.books_are_right()


@pytest.mark.parametrize("how", ["stopped", "paused"])
def test_postgres_is_away(make_subpay, cluster, how):
    subpay = make_subpay(server=cluster.url).start()
    crowd = people(30)
    tokens = [subpay.token(user) for user in crowd]
    subpay.settled(crowd[0], subpay.pay(None, token=tokens[0]).json["payment_id"])
    before = resident_kb(subpay)
    cluster.stop(immediate=True) if how == "stopped" else cluster.signal(signal.SIGSTOP)
    try:
        until(lambda: "store" in health(subpay)[1], "the store is named", 5)
        assert subpay.request("GET", "/health/ready").status == 200, "the API goes on"
        for token in tokens:
            assert in_time(lambda: subpay.pay(None, token=token), 2).status == 202
        for path in ("payments/", f"payments/{uuid.uuid4()}", "subscriptions/"):
            answer = in_time(lambda: subpay.request("GET", "/api/v1/" + path, token=tokens[0]), 5)
            assert answer.status == 503 and int(answer.headers["Retry-After"]) >= 1, path
            assert in_time(lambda: subpay.pay(None, token=tokens[0]), 2).status == 202, path
        assert resident_kb(subpay) - before < 16_000
    finally:
        cluster.start() if how == "stopped" else cluster.signal(signal.SIGCONT)
    until(lambda: subpay.rows("SELECT count(*) FROM payments")[0][0] == 34, "all are stored", 15)
    until(lambda: health(subpay) == (200, {}), "all is well", 10)
    subpay.rest()
    subpay.books_are_right()


def blocks_signals(child):
    with open(f"/proc/{child.pid}/status", encoding="ascii") as lines:
        blocked = next(int(line.split()[1], 16) for line in lines if line.startswith("SigBlk"))
    return blocked >> (signal.SIGTERM - 1) & 1


@pytest.mark.parametrize("service, asked, why", [("run", False, "no connection in time"),
                                                 ("notifier", True, "no answer in time")])
def test_stopping_a_start_while_postgres_does_not_answer(make_subpay, cluster, service, asked, why):
    """asked: connected already, and held up by a lock until the server is frozen."""
    one = make_subpay(server=cluster.url).with_engines()
    with contextlib.ExitStack() as rest, one.books() as holder:
        rest.callback(cluster.signal, signal.SIGCONT)
        if asked:
            holder.execute("BEGIN")
            holder.execute("LOCK TABLE schema_migrations")
        else:
            cluster.signal(signal.SIGSTOP)
        child = rest.enter_context(subprocess.Popen([BINARY, service], env=one.environment, cwd=one.folder,
                                                    stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
        rest.callback(child.kill)
        until(lambda: blocks_signals(child), "it would hear of a signal later", 5)
        if asked:
            until(lambda: one.rows("SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND"
                                   " wait_event_type = 'Lock'"), "it waits for the lock", 5)
            cluster.signal(signal.SIGSTOP)
        child.send_signal(signal.SIGTERM)
        said, errors = in_time(lambda: child.communicate(timeout=40), 10)
    assert child.returncode == 0 and said == "", (child.returncode, said)
    failed, ended = errors.strip().split("\n")
    assert failed == f"subpay: DATABASE_URL: {why}" and "stopped before it was ready" in ended, errors


@pytest.mark.parametrize("services", [("run",), ("processing", "subscription-app", "saver", "processor", "notifier")],
                         ids=["run", "processes"])
def test_stopping_while_postgres_does_not_answer(system, cluster, services):
    """Each process waits for its calls, not for the store, and leaves the rest as a crash does: for the next one."""
    all_of = system(server=cluster.url, PROCESSING_LATENCY_MS="300-300", PROCESSING_TIMEOUT_MS="2000")
    console = all_of.add(*services).console
    api = (all_of.of("run") or all_of.of("subscription-app"))[0]
    tokens = [console.token(user) for user in people(20)]
    for token in tokens[:10]:
        assert api.pay(None, token=token).status == 202
    until(lambda: console.rows("SELECT 1 FROM payments WHERE processing_status = 'in_processing'"), "calls are in flight")
    cluster.signal(signal.SIGSTOP)
    try:
        for token in tokens[10:]:
            assert api.pay(None, token=token).status == 202
        for name, one in all_of.running.items():
            if not name.startswith("processing-"):
                until(lambda: "store" in health(one)[1], f"{name} waits for the store", 5)
        asked = time.monotonic()
        for one in all_of.running.values():
            one.process.send_signal(signal.SIGTERM)
        for name, one in all_of.running.items():
            assert one.process.wait(15) == 0, f"{name}\n{one.errors()}"
            assert time.monotonic() - asked < 10, name
            one.stop()  # again: it is gone
    finally:
        cluster.signal(signal.SIGCONT)
    all_of.running = {}
    console.environment.pop("PROCESSOR")  # who brings it, starts it
    all_of.add(*services)
    console.rest()
    assert console.rows("SELECT count(*) FROM payments") == [(20,)]
    console.books_are_right()
