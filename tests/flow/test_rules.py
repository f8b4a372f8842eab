"""The rules of money with the real process: prices, a payer who has to be waited for, a person who decides, backups."""
import contextlib
import json
import re
import shutil
import sqlite3
import threading
import time
import urllib.error
import urllib.request
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from conftest import until


# ---- the audit ----


def test_what_clients_were_told(make_subpay, tmp_path):
    """--accepted: every id of a 202 is in the queue or in the books; one that nobody was told is missed."""
    subpay = make_subpay().start()
    ids = tmp_path / "ids"
    child = subpay.crowd(300, 2, ids)
    while child.poll() is None:  # beside the running system, whatever it is doing
        subpay.cli("audit")
    assert child.returncode == 0, child.communicate()
    subpay.rest()
    done = subpay.cli("audit", "--accepted", ids)
    told = len([line for line in ids.read_text().split("\n") if line])  # not of one whose user was subscribed already
    assert subpay.rows("SELECT count(*) FROM payments") == [(told,)] and told > 150
    assert f"I1 ok {2 * told} checked" in done.stdout
    lost = str(uuid.uuid4())
    with open(ids, "a") as file:
        file.write(lost.upper() + "\n")
    report = json.loads(subpay.cli("audit", "--json", "--accepted", ids, check=1).stdout)
    broken = [i for i in report["invariants"] if not i["ok"]]
    assert [i["id"] for i in broken] == ["I1"] and broken[0]["examples"][0].startswith(lost)
    subpay.cli("audit", "--accepted", tmp_path / "nowhere", check=2)


@pytest.mark.parametrize("invariant, sql", [
    ("I1", "DELETE FROM payments WHERE seq = 1; DELETE FROM events"),
    ("I6", "UPDATE payments SET payment_status = 'accepted', reason = NULL WHERE payment_status = 'decline'"),
    ("I6", "UPDATE payments SET amount = 1 WHERE payment_status = 'accepted'"),
    ("I8", "UPDATE payments SET amount = amount + 1 WHERE payment_type = 'refund' AND payment_status = 'accepted'"),
    ("I9", "UPDATE payments SET processing_status = 'in_processing', payment_status = 'unknown', notification = NULL"
           " WHERE payment_status = 'decline'; UPDATE heartbeats SET at = '2099-01-01T00:00:00.000000Z'"),
])
def test_a_hand_in_the_books_is_named(make_subpay, invariant, sql):
    subpay = make_subpay(PROCESSING_OUTCOMES="success=1").start()
    payer, refused = str(uuid.uuid4()), str(uuid.uuid4())
    subpay.settled(payer, subpay.pay(payer).json["payment_id"])
    subpay.settled(payer, subpay.pay(payer, payment_type="refund").json["payment_id"])
    until(lambda: subpay.rows("SELECT count(*) FROM heartbeats") == [(3,)], "all services were alive")
    subpay.stop()
    subpay.environment["PROCESSING_OUTCOMES"] = "decline=1"
    subpay.start()
    subpay.settled(refused, subpay.pay(refused).json["payment_id"])
    subpay.stop()
    assert subpay.audit()["ok"]
    with subpay.books(loose=True) as db:
        for statement in sql.split(";"):
            db.execute(statement)
    report = subpay.audit(check=1)
    assert invariant in [i["id"] for i in report["invariants"] if not i["ok"]], report


# ---- prices ----


def price_lines(subpay, *arguments):
    return [line.split()[:4] for line in subpay.cli("price", "list", *arguments).stdout.split("\n") if line]


@pytest.mark.parametrize("running", [True, False])
def test_prices(make_subpay, running):
    """Beside the running process (on the embedded engines through its socket), and alone with the store."""
    subpay = make_subpay().start()
    if not running:
        subpay.stop()
    assert ["month", "39900", "RUB", "2020-01-01"] in price_lines(subpay) and len(price_lines(subpay)) == 3
    subpay.cli("price", "add", "month", "49900", "RUB", "2098-02-28")
    assert ["month", "49900", "RUB", "2098-02-28"] in price_lines(subpay)
    lines = subpay.cli("price", "list").stdout
    assert "month 39900 RUB 2020-01-01 in force" in lines and "month 49900 RUB 2098-02-28 to come" in lines
    later = price_lines(subpay, "--date", "2098-02-28")
    assert ["month", "49900", "RUB", "2098-02-28"] in later and len(later) == 3
    for arguments, words in ((("add", "month", "1", "RUB", "2098-02-28"), "2098-02-28 already"),
                             (("add", "month", "1", "RUB", "2020-01-02"), "tomorrow"),
                             (("add", "month", "1", "RUB", time.strftime("%Y-%m-%d", time.gmtime())), "tomorrow"),
                             (("delete", "month", "2020-01-01"), "in force"),
                             (("delete", "year", "2098-02-28"), "no price")):
        assert words in subpay.cli("price", *arguments, check=1).stderr
    subpay.cli("price", "delete", "month", "2098-02-28")
    assert len(price_lines(subpay)) == 3
    events = subpay.rows("SELECT subject_id, to_status, actor FROM events WHERE subject = 'price' ORDER BY seq")
    assert [e[:2] for e in events] == [("month/2098-02-28", "added"), ("month/2098-02-28", "deleted")]
    assert all(re.fullmatch("operator:.+", e[2]) for e in events)
    assert subpay.audit()["ok"]


@pytest.mark.parametrize("arguments, words", [
    ((), "list"), (("sell",), "sell"), (("list", "now"), "now"), (("list", "--date", "2026-02-30"), "2026-02-30"),
    (("add", "month", "1", "RUB"), "TYPE"), (("add", "week", "1", "RUB", "2098-01-01"), "three_months"),
    (("add", "month", "0", "RUB", "2098-01-01"), "COST 0"), (("add", "month", "1.5", "RUB", "2098-01-01"), "COST 1.5"),
    (("add", "month", "1", "rub", "2098-01-01"), "CURRENCY rub"), (("add", "month", "1", "RUB", "soon"), "DATE soon"),
    (("delete", "month"), "TYPE"), (("delete", "month", "2098-13-01"), "2098-13-01"),
])
def test_prices_wrong_usage(make_subpay, arguments, words):
    assert words in make_subpay().cli("price", *arguments, check=2).stderr


@pytest.mark.embedded
def test_prices_want_a_store(make_subpay):
    subpay = make_subpay()
    assert "subpay.db" in subpay.cli("price", "list", check=1).stderr
    assert "subpay.db" in subpay.cli("price", "add", "month", "1", "RUB", "2098-01-01", check=1).stderr
    assert not (subpay.data / "subpay.db").exists()


# ---- waiting for the payer (rule 8) ----


def page(url, data=None):
    request = urllib.request.Request(url, data=data.encode() if data else None)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def waits_for_payer(subpay, user, payment_id):
    token = subpay.token(user)

    def look():
        answer = subpay.request("GET", f"/api/v1/payments/{payment_id}?wait=2", token=token)
        return answer.status == 200 and answer.json["action_url"] and answer.json
    return until(look, "it shows its action_url")


@pytest.mark.parametrize("result, status", [("success", "accepted"), ("decline", "decline")])
def test_the_payers_page(make_subpay, user, result, status):
    subpay = make_subpay(PROCESSING_OUTCOMES="pending=1").start()
    payment_id = subpay.pay(user).json["payment_id"]
    payment = waits_for_payer(subpay, user, payment_id)
    assert payment["processing_status"] == "in_processing" and payment["payment_status"] == "unknown"
    assert not payment["needs_decision"]
    # the same again is its duplicate at once, and leads to the same page
    again = subpay.pay(user).json["payment_id"]
    assert waits_for_payer(subpay, user, again)["action_url"] == payment["action_url"]
    assert subpay.settled(user, again)["duplicate_of"] == payment_id
    assert subpay.audit()["ok"]
    assert page(payment["action_url"])[0] == 200
    assert page(payment["action_url"], f"result={result}")[0] in (200, 303)
    assert subpay.settled(user, payment_id)["payment_status"] == status
    assert page(payment["action_url"], "result=success")[0] == 409
    assert [answer["result"] for _, answer in subpay.journal()] == ["pending", result]
    assert subpay.audit()["ok"]


def test_something_else_instead(make_subpay, user):
    """A newer request of another kind: the page is closed, and the newer one is what counts."""
    subpay = make_subpay(PROCESSING_OUTCOMES="pending=1").start()
    first = subpay.pay(user).json["payment_id"]
    url = waits_for_payer(subpay, user, first)["action_url"]
    second = subpay.pay(user, subscription_type="year").json["payment_id"]
    closed = subpay.settled(user, first)
    assert (closed["payment_status"], closed["reason"]) == ("error", "superseded")
    assert page(url, "result=success")[0] == 409
    assert page(waits_for_payer(subpay, user, second)["action_url"], "result=success")[0] in (200, 303)
    assert subpay.settled(user, second)["payment_status"] == "accepted"
    subpay.books_are_right()


# ---- a person decides (rule 10) ----


class Processing:
    """One without a journal, that refuses every charge by 422 and answers to void as it is told."""

    def __init__(self):
        self.void, self.voided, self.release = "silent", [], threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self, status, body):
                text = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def do_GET(self):
                if self.path == "/instance":
                    self.answer(200, {"instance_id": "tiny"})
                else:
                    self.answer(404, {})

            def do_POST(self):
                request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if not self.path.endswith("/void"):
                    self.answer(422, {})
                    return
                outer.voided.append(self.path.split("/")[-2])
                if outer.void == "silent":
                    outer.release.wait(30)
                    self.close_connection = True
                    return
                said = {"voided": {"result": "error", "reason": "voided"}, "success": {"result": "success"}}[outer.void]
                self.answer(200, {**said, "payment_id": request["payment_id"], "amount": request["amount"],
                                  "currency": request["currency"], "transaction_id": "t"})

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.release.set()
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def processing():
    made = Processing()
    yield made
    made.close()


def undecided(subpay, user):
    payment_id = subpay.pay(user).json["payment_id"]
    token = subpay.token(user)
    until(lambda: subpay.request("GET", f"/api/v1/payments/{payment_id}?wait=2", token=token).json.get("needs_decision"),
          "it shows needs_decision")
    return payment_id


@pytest.mark.parametrize("running", [True, False])
def test_a_person_decides(make_subpay, processing, running):
    subpay = make_subpay(PROCESSOR=processing.url, PROCESSING_TIMEOUT_MS=1000).start()
    users = [str(uuid.uuid4()) for _ in range(3)]
    declined, accepted, answered = [undecided(subpay, user) for user in users]
    if not running:
        subpay.stop()
    # the key cannot be voided: refused, nothing changes
    done = subpay.cli("decide", declined, "--outcome", "decline", "--evidence", "a call", check=1)
    assert "void" in done.stderr
    assert subpay.rows("SELECT processing_status, needs_decision FROM payments WHERE id = ?",
                       declined) == [("in_processing", 1)]
    # accepted needs no void: it would contradict the evidence
    subpay.cli("decide", accepted, "--outcome", "accepted", "--evidence", "statement of 3 March", )
    assert accepted not in processing.voided
    processing.void = "voided"
    done = subpay.cli("decide", declined, "--outcome=decline", "--evidence=a call «да»")
    assert declined in done.stdout and declined in processing.voided
    # the processing knows better
    processing.void = "success"
    assert "accepted" in subpay.cli("decide", answered, "--outcome", "error", "--evidence", "?", check=1).stderr
    for payment_id in (declined, accepted, answered):
        subpay.cli("decide", payment_id, "--outcome", "error", "--evidence", "again", check=1)
    assert "no such" in subpay.cli("decide", str(uuid.uuid4()), "--outcome", "error", "--evidence", "x",
                                   check=1).stderr
    if not running:
        subpay.start()
    ended = [subpay.settled(user, payment_id) for user, payment_id in zip(users, (declined, accepted, answered))]
    assert [(p["payment_status"], p["reason"]) for p in ended] == [
        ("decline", "decided"), ("accepted", "decided"), ("accepted", None)]
    for payment_id, evidence in ((declined, "a call «да»"), (accepted, "statement of 3 March")):
        actor, detail = subpay.rows("SELECT actor, detail FROM events WHERE subject_id = ? AND to_status = 'processed'",
                                    payment_id)[0]
        assert actor.startswith("operator:") and json.loads(detail)["evidence"] == evidence
    assert subpay.request("GET", "/api/v1/subscriptions/", user=users[1]).json["items"]
    report = json.loads(subpay.cli("audit", "--json", check=3).stdout)  # it has no journal
    assert not any(i["broken"] for i in report["invariants"])
    six = next(i for i in report["invariants"] if i["id"] == "I6")
    assert six["listed"] == 2 and "journal" in six["not_checked"]


@pytest.mark.parametrize("arguments, words", [
    ((), "PAYMENT"), (("me", "--outcome", "error", "--evidence", "x"), "me"),
    ((str(uuid.UUID(int=7)),), "--outcome"), ((str(uuid.UUID(int=7)), "--outcome", "unknown", "--evidence", "x"), "decline"),
    ((str(uuid.UUID(int=7)), "--outcome", "error"), "--evidence"),
    ((str(uuid.UUID(int=7)), "--outcome", "error", "--evidence", "  "), "--evidence"),
    ((str(uuid.UUID(int=7)), "--outcome", "error", "--evidence", "x" * 1001), "1000"),
])
def test_decide_wrong_usage(make_subpay, arguments, words):
    assert words in make_subpay().cli("decide", *arguments, check=2).stderr


# ---- backups (rule 11) ----


def put_back(subpay, backup):
    for suffix in ("", "-wal", "-shm"):
        (subpay.data / f"subpay.db{suffix}").unlink(missing_ok=True)
    shutil.copy(backup, subpay.data / "subpay.db")


def charged_once(subpay):
    charges = {}
    for request, answer in subpay.journal():
        if answer["result"] == "success" and request["payment_type"] == "payment":
            charges[request["user_id"]] = charges.get(request["user_id"], 0) + 1
    assert charges and set(charges.values()) == {1}, charges


@pytest.mark.embedded
def test_a_restored_backup_takes_the_rest_from_the_journal(make_subpay, tmp_path):
    subpay = make_subpay(PROCESSING_TIMEOUT_MS=1000).start()
    before, after, back = [[str(uuid.uuid4()) for _ in range(3)] for _ in range(3)]
    for user in before + back:
        subpay.settled(user, subpay.pay(user).json["payment_id"])
    backup = tmp_path / "backup.db"
    subpay.cli("backup", backup)
    assert "already" in subpay.cli("backup", backup, check=1).stderr
    paid = {user: subpay.settled(user, subpay.pay(user, key="k").json["payment_id"]) for user in after}
    refunded = {user: subpay.settled(user, subpay.pay(user, payment_type="refund").json["payment_id"])
                for user in back}
    assert {p["payment_status"] for p in (*paid.values(), *refunded.values())} == {"accepted"}
    journal = subpay.journal()
    subpay.stop()

    put_back(subpay, backup)
    assert subpay.rows("SELECT count(*) FROM payments") == [(6,)]
    subpay.start()
    for user, payment in {**paid, **refunded}.items():
        known = subpay.settled(user, payment["payment_id"])
        for field in ("payment_type", "payment_status", "amount", "currency", "refund_of", "subscription_type"):
            assert known[field] == payment[field], field
    # the users ask again: one is subscribed, the other one gets nothing twice
    for user in after:
        assert subpay.pay(user, key="k").json["payment_id"] == paid[user]["payment_id"]
        assert subpay.pay(user).status == 409
    for user in back:
        again = subpay.settled(user, subpay.pay(user, payment_type="refund").json["payment_id"])
        assert again["processing_status"] == "duplicated" or again["reason"] == "nothing_to_refund"
    subpay.rest()
    assert subpay.journal() == journal, "something was sent again"
    charged_once(subpay)
    subpay.books_are_right()


@pytest.mark.embedded
def test_what_was_new_in_the_backup_was_sent_since(make_subpay, tmp_path):
    """The backup has requests that are not sent yet, and some in the queue: their answers are in the journal."""
    subpay = make_subpay(PROCESSING_TIMEOUT_MS=1000, PROCESSING_LATENCY_MS="20-40").start()
    ids = tmp_path / "ids"
    child = subpay.crowd(400, 2, ids)
    until(lambda: subpay.rows("SELECT count(*) FROM payments")[0][0] > 50, "some are stored")
    backup = tmp_path / "backup.db"
    subpay.cli("backup", backup)
    child.communicate(timeout=60)
    subpay.rest()
    subpay.stop()
    executed = len(subpay.journal())
    put_back(subpay, backup)
    subpay.start()
    subpay.rest()
    charged_once(subpay)
    assert len(subpay.journal()) >= executed
    subpay.books_are_right()


@pytest.mark.embedded
def test_a_backup_under_load_is_whole(make_subpay, tmp_path):
    subpay = make_subpay().start()
    child = subpay.crowd(1000, 2, tmp_path / "ids")
    until(lambda: subpay.rows("SELECT count(*) FROM payments")[0][0] > 100, "some are stored")
    subpay.cli("backup", tmp_path / "backup.db")
    child.communicate(timeout=60)
    with contextlib.closing(sqlite3.connect(f"file:{tmp_path}/backup.db?mode=ro", uri=True)) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert db.execute("SELECT count(*) FROM payments").fetchone()[0] > 100
    assert (tmp_path / "backup.db").stat().st_mode & 0o777 == 0o600
    subpay.cli("backup", check=2)
    subpay.cli("backup", tmp_path / "no" / "such" / "folder", check=1)


@pytest.mark.parametrize("running", [True, False])
def test_restored_without_a_journal(make_subpay, processing, running):
    """What is new is asked about before it is decided."""
    subpay = make_subpay(PROCESSOR=processing.url, PROCESSING_TIMEOUT_MS=1000).start()
    if not running:
        subpay.stop()
    assert subpay.cli("restored").stdout.startswith("0 new payments")
    subpay.cli("restored", "now", check=2)
    if not running:
        with subpay.books() as db:
            now = "2026-01-01T00:00:00.000000Z"
            user = str(uuid.uuid4())
            db.execute("INSERT INTO accounts (user_id, pending_seq, due_at) VALUES (?, 1, ?)", (user, now))
            db.execute("INSERT INTO payments (seq, id, user_id, payment_type, subscription_type, payment_date, stored_at,"
                       " amount, currency) VALUES (1, ?, ?, 'payment', 'month', ?, ?, 39900, 'RUB')",
                       (str(uuid.uuid4()), user, now, now))
        assert subpay.cli("restored").stdout.startswith("1 new payments")


# ---- a newer file ----


@pytest.mark.embedded
def test_a_newer_file_is_refused(make_subpay):
    subpay = make_subpay().start()
    subpay.stop()
    with subpay.books() as db:
        db.execute("INSERT INTO schema_migrations (number, name, applied_at, compatible_from)"
                   " VALUES (99, '0099_later', '2026-01-01T00:00:00.000000Z', 99)")
    before = (subpay.data / "subpay.db").read_bytes()
    for command in (("run",), ("audit",), ("price", "list"), ("price", "delete", "month", "2098-01-01"), ("restored",)):
        done = subpay.cli(*command, check=2)
        assert "revision 99" in done.stderr and len(done.stderr.strip().split("\n")) == 1
    assert "revision 99" in subpay.cli("migrate", "upgrade", check=1).stderr
    assert (subpay.data / "subpay.db").read_bytes() == before
