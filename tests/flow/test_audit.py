"""`subpay audit`: green beside a running system, red when an invariant is broken by hand."""
import contextlib
import json
import subprocess
import uuid

import distributed
import pytest
from postgres import BIN
from process import until


def test_green_beside_the_running_process(subpay, user):
    subpay.settled(user, subpay.pay(user).json["payment_id"])
    report = subpay.audit()
    ids = [i["id"] for i in report["invariants"]]
    assert report["ok"] and ids == [f"I{n}" for n in range(1, 11)]
    assert all(set(i) == {"id", "ok", "checked", "broken", "examples"} for i in report["invariants"])
    assert all(i["checked"] > 0 for i in report["invariants"] if i["id"] not in ("I8", "I9"))  # no refund, nothing owed
    text = subpay.cli("audit").stdout
    assert any(line.startswith("I4 ok ") and line.endswith(" checked") for line in text.split("\n"))


def test_red_when_a_period_has_no_payment(make_subpay, user):
    subpay = make_subpay().start()
    payment_id = subpay.settled(user, subpay.pay(user).json["payment_id"])["payment_id"]
    subpay.stop()
    with subpay.books(loose=True) as db:
        db.execute("DELETE FROM subscriptions")
    report = subpay.audit(check=1)
    assert not report["ok"]
    broken = {i["id"]: i for i in report["invariants"] if not i["ok"]}
    assert "I5" in broken and payment_id in json.dumps(broken["I5"]["examples"])


def test_what_cannot_be_checked_is_named(make_subpay, user):
    subpay = make_subpay().start()
    subpay.settled(user, subpay.pay(user).json["payment_id"])
    subpay.stop()
    (subpay.data / "processing.db").unlink()
    done = subpay.cli("audit", check=3)
    assert "I2" in done.stdout and "journal" in (done.stdout + done.stderr).lower()


def test_books_that_are_not_there_are_not_broken(make_subpay):
    subpay = make_subpay()
    if subpay.engines:  # a server that is not there
        subpay.with_engines()
        subpay.environment["DATABASE_URL"] = "postgresql://nobody@127.0.0.1:1/nothing"
    done = subpay.cli("audit", "--json", check=3)
    assert done.stdout == "" and done.stderr.startswith("subpay: audit: ") and done.stderr.count("\n") == 1


# ---- a dump of an earlier moment (rule 11) ----


def dump(subpay, path):
    subprocess.run([BIN / "pg_dump", "-Fc", "-f", path, subpay.environment["DATABASE_URL"]], check=True)


def put_back(subpay, path):
    """Into a new database of the same name, while nothing runs."""
    engines = subpay.engines
    with contextlib.closing(distributed.connect(engines.server)) as server, server.cursor() as cursor:
        cursor.execute(f"DROP DATABASE {engines.database} WITH (FORCE)")
        cursor.execute(f"CREATE DATABASE {engines.database}")
    subprocess.run([BIN / "pg_restore", "--exit-on-error", "-d", subpay.environment["DATABASE_URL"], path],
                   check=True)


def charges(subpay):
    """How many times each user was charged."""
    counts = {}
    for request, answer in subpay.journal():
        if answer["result"] == "success" and request["payment_type"] == "payment":
            counts[request["user_id"]] = counts.get(request["user_id"], 0) + 1
    return counts


@pytest.mark.distributed
def test_a_restored_dump_charges_nobody_twice(make_subpay, tmp_path):
    subpay = make_subpay(PROCESSING_TIMEOUT_MS=1000).start()
    before, after, back = [[str(uuid.uuid4()) for _ in range(3)] for _ in range(3)]
    for user in before + back:
        subpay.settled(user, subpay.pay(user).json["payment_id"])
    dump(subpay, tmp_path / "dump")
    paid = {user: subpay.settled(user, subpay.pay(user, key="k").json["payment_id"]) for user in after}
    refunded = {user: subpay.settled(user, subpay.pay(user, payment_type="refund").json["payment_id"])
                for user in back}
    assert {p["payment_status"] for p in (*paid.values(), *refunded.values())} == {"accepted"}
    journal = subpay.journal()
    subpay.stop()

    put_back(subpay, tmp_path / "dump")
    assert subpay.rows("SELECT count(*) FROM payments") == [(6,)]
    assert not subpay.audit(check=1)["ok"]  # the journal knows what the books do not
    subpay.start()
    for user, payment in {**paid, **refunded}.items():
        known = subpay.settled(user, payment["payment_id"])
        for field in ("payment_type", "payment_status", "amount", "currency", "refund_of", "subscription_type"):
            assert known[field] == payment[field], field
    for user in after:
        assert subpay.pay(user).status == 409
    subpay.rest()
    assert subpay.journal() == journal, "something was sent again"
    subpay.books_are_right()


@pytest.mark.distributed
def test_what_was_new_in_the_dump_was_sent_since(make_subpay, tmp_path):
    """Dumped under load: it has requests that are not sent yet, and others are only in the topic."""
    subpay = make_subpay(PROCESSING_TIMEOUT_MS=1000, PROCESSING_LATENCY_MS="20-40").start()
    child = subpay.crowd(400, 2, tmp_path / "ids")
    until(lambda: subpay.rows("SELECT count(*) FROM payments")[0][0] > 50, "some are stored")
    dump(subpay, tmp_path / "dump")
    child.communicate(timeout=120)
    subpay.rest()
    subpay.stop()
    put_back(subpay, tmp_path / "dump")
    subpay.start()
    # Decided, not completed: users whom the notifier of then was telling are in the dump with its lease of 60 s.
    until(lambda: subpay.is_read() and not subpay.rows(
        "SELECT 1 FROM payments WHERE processing_status IN ('new', 'in_processing') LIMIT 1"), "all are decided", 60)
    counts = charges(subpay)
    assert len(counts) == 200 and set(counts.values()) == {1}
    subpay.books_are_right()
    told = subpay.cli("audit", "--accepted", tmp_path / "ids")
    assert "I1 ok " in told.stdout
