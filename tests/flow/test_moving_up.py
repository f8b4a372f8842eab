"""From the embedded file to PostgreSQL: `subpay copy`, and the commands that look at the store alone."""
import contextlib
import itertools
import json
import re
import sqlite3
import subprocess
import uuid

import pytest
from conftest import BINARY, until
from postgres import Cluster

pytestmark = pytest.mark.embedded  # it begins with the file

NUMBERS = itertools.count()
COPIED = ("accounts", "payments", "subscriptions", "attempts", "events", "subscription_cost", "journal_positions",
          "learning", "paged", "rewound")


@pytest.fixture(scope="module")
def cluster():
    with Cluster() as made:
        yield made


@pytest.fixture
def empty(cluster):
    """The URL of a database with nothing in it."""
    name = f"moving_{next(NUMBERS)}"
    cluster.sql(f"CREATE DATABASE {name}")
    return cluster.url_of(name)


@pytest.fixture
def target(empty, make_subpay):
    """… that is migrated."""
    make_subpay("migrator").cli("migrate", "upgrade", DATABASE_URL=empty)
    return empty


def sql(cluster, url, text):
    return cluster.sql(text, database=url.rpartition("/")[2])


def lived_in(make_subpay):
    """A file with a life behind it: outcomes of all kinds, duplicates, refunds, prices to come."""
    subpay = make_subpay("old", PROCESSING_OUTCOMES="success=0.7,decline=0.2,error=0.1", PROCESSING_SEED=5,
                         PROCESSING_LATENCY_MS="150-250").start()
    payers = [str(uuid.uuid4()) for _ in range(20)]
    for payer in payers:
        for _ in range(2):
            assert subpay.pay(payer).status in (202, 409)
    subpay.cli("price", "add", "month", "45000", "RUB", "2099-01-01")
    subpay.rest()
    for payer in payers[:10]:
        assert subpay.pay(payer, "refund").status == 202
    subpay.rest()
    return subpay


@contextlib.contextmanager
def books(subpay):
    """A hand in the file, while no process holds it."""
    with contextlib.closing(sqlite3.connect(subpay.data / "subpay.db")) as db, db:
        yield db


def is_empty(cluster, url):
    return sql(cluster, url, "SELECT count(*) FROM payments") == "0" and \
        sql(cluster, url, "SELECT count(*) FROM subscription_cost") == "3"


def one_line(done, *words):
    lines = done.stderr.strip().split("\n")
    assert len(lines) == 1, done.stderr
    for word in words:
        assert word in lines[0], done.stderr
    assert "not-a-secret" not in done.stdout + done.stderr  # the password of the URL


def test_the_books_go_over(make_subpay, cluster, target):
    subpay = lived_in(make_subpay)
    refused = subpay.cli("copy", "data", target, check=1)
    one_line(refused, "copy: FROM data:", str(subpay.process.pid), "--drain")
    subpay.stop()
    done = subpay.cli("copy", "data", target)
    users, payments, periods, events = map(int, re.search(
        r"copied and compared: (\d+) users, (\d+) payments, (\d+) periods, (\d+) events\n", done.stdout).groups())
    assert users == 20 and payments > 30 and periods > 0 and events > payments
    for table in COPIED:
        assert int(sql(cluster, target, f"SELECT count(*) FROM {table}")) == \
            subpay.rows(f"SELECT count(*) FROM {table}")[0][0], table
    for table in ("positions", "restored", "heartbeats"):
        assert sql(cluster, target, f"SELECT count(*) FROM {table}") == "0"
    for query in ("SELECT sum(seq), sum(amount), min(payment_status), count(DISTINCT id) FROM payments",
                  "SELECT sum(length(body)), count(DISTINCT body) FROM attempts",
                  "SELECT count(*), sum(seq) FROM events WHERE detail ->> 'duplicate_of' IS NOT NULL",
                  "SELECT max(starting_date), sum(cost) FROM subscription_cost"):
        row = subpay.rows(query)[0]
        assert None not in row, query
        assert sql(cluster, target, query) == "|".join(map(str, row)), query
    # what is stored next comes behind
    for table in ("payments", "events"):
        last = subpay.rows(f"SELECT max(seq) FROM {table}")[0][0]
        assert int(sql(cluster, target, f"SELECT nextval(pg_get_serial_sequence('{table}', 'seq'))")) == last + 1
    again = subpay.cli("copy", "data/subpay.db", target, check=1)
    one_line(again, "nothing was copied", "not empty")
    subpay.start().books_are_right()  # the file is as it was


def test_a_backup_goes_over_beside_the_process(make_subpay, cluster, target):
    subpay = lived_in(make_subpay)
    subpay.cli("backup", "copy.db")
    assert "20 users" in subpay.cli("copy", "copy.db", target).stdout
    assert int(sql(cluster, target, "SELECT count(*) FROM payments")) == \
        subpay.rows("SELECT count(*) FROM payments")[0][0]


def test_drain_waits_for_the_end_of_the_process(make_subpay, cluster, target):
    subpay = make_subpay("busy", PROCESSING_LATENCY_MS="400-600").start()
    for _ in range(4):
        assert subpay.pay(str(uuid.uuid4())).status == 202
    child = subprocess.Popen([BINARY, "copy", "--drain", "data", target], env=subpay.environment, cwd=subpay.folder,
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        said = []
        until(lambda: said.append(child.stderr.readline()) or "drained" in said[-1], "it says that it is drained")
        assert f"end process {subpay.process.pid} (SIGTERM)" in said[-1]
        assert child.poll() is None and is_empty(cluster, target)
        subpay.stop()
        out, errors = child.communicate(timeout=30)
        assert child.returncode == 0, errors
    finally:
        child.kill()
    assert "4 users, 4 payments, 4 periods" in out


def test_what_is_owed_is_refused(make_subpay, cluster, target):
    subpay = make_subpay("owing", PROCESSING_OUTCOMES="pending=1").start()
    payer = str(uuid.uuid4())
    payment = subpay.pay(payer).json["payment_id"]
    until(lambda: subpay.rows("SELECT 1 FROM payments WHERE action_url IS NOT NULL"), "it waits for its payer")
    subpay.stop()
    one_line(subpay.cli("copy", "data", target, check=1), "0 records of the queue are unread",
             "1 payments are in processing", "subpay run", "--drain")
    one_line(subpay.cli("copy", "--drain", "data", target, check=1), "no process works on it")
    with books(subpay) as db:
        db.execute("UPDATE payments SET needs_decision = 1")
    one_line(subpay.cli("copy", "data", target, check=1), "1 of them wait for `subpay decide`")
    fresh = make_subpay("unread")
    fresh.start().stop()
    fresh.cli("topic", "produce", "payments", stdin="x\ny\n")
    one_line(fresh.cli("copy", "data", target, check=1), "2 records of the queue are unread")
    assert is_empty(cluster, target) and payment


def test_a_failure_leaves_it_empty(make_subpay, cluster, target):
    subpay = lived_in(make_subpay)
    subpay.stop()
    seq, user_id = subpay.rows("SELECT seq, user_id FROM payments WHERE amount IS NOT NULL ORDER BY user_id LIMIT 1")[0]
    sql(cluster, target, "CREATE FUNCTION spoil() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN NEW.amount := 1; RETURN"
                         " NEW; END$$; CREATE TRIGGER spoil BEFORE INSERT ON payments FOR EACH ROW"
                         f" WHEN (NEW.seq = {seq}) EXECUTE FUNCTION spoil()")
    one_line(subpay.cli("copy", "data", target, check=1), "nothing was copied",
             f"payments: user_id {user_id} seq {seq}", "amount is 39900 in the file and 1 in PostgreSQL")
    assert is_empty(cluster, target)
    sql(cluster, target, "DROP TRIGGER spoil ON payments; CREATE FUNCTION lose() RETURNS trigger LANGUAGE plpgsql AS"
                         " $$BEGIN RETURN NULL; END$$; CREATE TRIGGER lose BEFORE INSERT ON events FOR EACH ROW"
                         " WHEN (NEW.seq = 7) EXECUTE FUNCTION lose()")
    one_line(subpay.cli("copy", "data", target, check=1), "events: seq 7", "is in the file only")
    assert is_empty(cluster, target)
    sql(cluster, target, "DROP TRIGGER lose ON events")
    with books(subpay) as db:
        db.execute("UPDATE payments SET stored_at = 'yesterday, perhaps' WHERE seq = 3")
    one_line(subpay.cli("copy", "data", target, check=1), "nothing was copied", "yesterday, perhaps")
    assert is_empty(cluster, target)
    with books(subpay) as db:
        db.execute("UPDATE payments SET stored_at = payment_date WHERE seq = 3")
    subpay.cli("copy", "data", target)


def test_from_and_to_are_looked_at_first(make_subpay, cluster, empty):
    subpay = make_subpay("young")
    one_line(subpay.cli("copy", "data", empty, check=2), "FROM data", "subpay.db")
    subpay.start().stop()
    one_line(subpay.cli("copy", "data", check=2), "FROM", "TO")
    one_line(subpay.cli("copy", "nowhere", empty, check=2), "FROM nowhere")
    one_line(subpay.cli("copy", empty, "data", check=2), "FROM", "DATA_DIR")
    one_line(subpay.cli("copy", "data", "mysql://h/d", check=2), "TO", "postgresql://")
    one_line(subpay.cli("copy", "data", empty + "_gone", check=2), "TO", "does not exist")
    one_line(subpay.cli("copy", "data", empty, check=2), "TO", "subpay migrate upgrade")


# ---- commands on PostgreSQL, without Kafka ----


def test_prices_on_postgres(make_subpay, target):
    subpay = make_subpay("prices", DATABASE_URL=target)
    listed = "month 39900 RUB 2020-01-01 in force\nthree_months 99900 RUB 2020-01-01 in force\n" \
             "year 299900 RUB 2020-01-01 in force\n"
    assert subpay.cli("price", "list").stdout == listed
    subpay.cli("price", "add", "month", "45000", "RUB", "2099-01-01")
    assert "already" in subpay.cli("price", "add", "month", "45000", "RUB", "2099-01-01", check=1).stderr
    assert "month 45000 RUB 2099-01-01 to come\n" in subpay.cli("price", "list").stdout
    assert "month 45000 RUB 2099-01-01 in force\n" in subpay.cli("price", "list", "--date", "2099-06-01").stdout
    subpay.cli("price", "delete", "month", "2099-01-01")
    subpay.cli("price", "delete", "month", "2020-01-01", check=1)
    assert subpay.cli("price", "list").stdout == listed
    one_line(subpay.cli("restored", check=2), "KAFKA_BROKERS")  # what is in the queue has to be marked, too
    assert not (subpay.data / "subpay.db").exists()


def test_a_decision_on_postgres_without_a_processor(make_subpay, cluster, target):
    """The payment is in flight in the books that were copied by hand; the processing knows nothing of it."""
    simulator = make_subpay("simulator")
    simulator.start("processing")
    base = re.search(r"http://127\.0\.0\.1:\d+", simulator.output).group(0)
    subpay = make_subpay("decides", DATABASE_URL=target, PROCESSOR=base)
    payment, payer = str(uuid.uuid4()), str(uuid.uuid4())
    body = json.dumps({"payment_id": payment, "user_id": payer, "payment_type": "payment", "subscription_type": "month",
                       "requested_at": "2026-01-01T00:00:00.000000Z", "amount": 39900, "currency": "RUB"})
    sql(cluster, target, f"""
        INSERT INTO accounts (user_id, in_flight, due_at) VALUES ('{payer}', 1, now());
        INSERT INTO payments (seq, id, user_id, payment_type, subscription_type, processing_status, payment_date,
                              stored_at, amount, currency)
        VALUES (1, '{payment}', '{payer}', 'payment', 'month', 'in_processing', now(), now(), 39900, 'RUB');
        INSERT INTO attempts (seq, body, first_sent_at) VALUES (1, '{body}', now());
        INSERT INTO events (at, subject, subject_id, actor, to_status, payment_status)
        VALUES (now(), 'payment', '{payment}', 'saver', 'new', 'unknown');
        INSERT INTO events (at, subject, subject_id, actor, from_status, to_status, payment_status)
        VALUES (now(), 'payment', '{payment}', 'processor', 'new', 'in_processing', 'unknown')""")
    decide = ("decide", payment, "--outcome", "decline", "--evidence", "the bank says so")
    assert "does not show needs_decision" in subpay.cli(*decide, check=1).stderr
    sql(cluster, target, "UPDATE payments SET needs_decision = 1")
    assert f"{payment} is decline, decided by operator:" in subpay.cli(*decide).stdout
    assert sql(cluster, target, "SELECT processing_status, payment_status, reason FROM payments") == \
        "processed|decline|decided"
    assert sql(cluster, target, "SELECT actor LIKE 'operator:%', detail ->> 'evidence' FROM events ORDER BY seq DESC"
                                " LIMIT 1") == "t|the bank says so"
    assert [(answer["result"], answer.get("reason")) for _, answer in simulator.journal()] == [("error", "voided")]
    assert "not in_processing" in subpay.cli(*decide, check=1).stderr


def test_a_store_that_is_away(make_subpay, empty):
    subpay = make_subpay("away", DATABASE_URL=empty)
    subpay.cli("token", "--user", str(uuid.uuid4()))
    mixture = subpay.cli("run", check=2)
    one_line(mixture, "DATABASE_URL", "KAFKA_HOST")
    backup = subpay.cli("backup", "x.db", check=2)
    one_line(backup, "DATABASE_URL", "pg_dump")
    other = Cluster()
    url = other.url
    other.close()
    for command, code in ((("price", "list"), 1), (("price", "add", "month", "1", "RUB", "2099-01-01"), 1),
                          (("audit",), 3), (("restored",), 1)):  # the audit: nothing was checked
        one_line(subpay.cli(*command, check=code, DATABASE_URL=url, KAFKA_BROKERS="127.0.0.1:1"), "DATABASE_URL")
