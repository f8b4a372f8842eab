"""`subpay audit`: green beside a running system, red when an invariant is broken by hand."""
import json


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
