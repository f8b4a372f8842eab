"""From HTTP to mail: what a newcomer does first."""
import email
import re

from conftest import until


def test_pay_and_be_subscribed(subpay, user):
    answer = subpay.pay(user)
    assert answer.status == 202
    assert answer.json["accepted"] is True
    assert (answer.json["amount"], answer.json["currency"]) == (39900, "RUB")
    payment_id = answer.json["payment_id"]
    assert answer.headers["Location"] == f"/api/v1/payments/{payment_id}"

    payment = subpay.settled(user, payment_id)
    assert payment["processing_status"] == "completed"
    assert payment["payment_status"] == "accepted"
    assert (payment["amount"], payment["currency"]) == (39900, "RUB")
    assert payment["duplicate_of"] is None and payment["reason"] is None and payment["waits_for"] is None

    subscriptions = subpay.request("GET", "/api/v1/subscriptions/", user=user).json
    assert [s["payment_id"] for s in subscriptions["items"]] == [payment_id]
    assert subscriptions["next_cursor"] is None
    assert subscriptions["items"][0]["ends_at"] == payment["expiration_date"]
    subpay.books_are_right()


def test_the_mail_tells_the_outcome_once(subpay, user):
    payment_id = subpay.pay(user, subscription_type="year").json["payment_id"]
    subpay.settled(user, payment_id)
    files = list((subpay.data / "mail").glob("*.eml"))
    assert [f.stem for f in files] == [payment_id]
    message = email.message_from_bytes(files[0].read_bytes())
    assert payment_id in message["Message-ID"]
    assert message["To"] == f"{user}@users.invalid"
    text = message.get_payload(decode=True).decode()
    assert "2999.00" in text.replace(" ", "").replace(",", "") or "2,999.00" in text


def test_second_payment_is_refused_while_subscribed(subpay, user):
    first = subpay.pay(user).json["payment_id"]
    subpay.settled(user, first)
    answer = subpay.pay(user, subscription_type="year")
    assert answer.status == 409
    assert answer.headers["Content-Type"].startswith("application/problem+json")
    assert "already paid" in answer.body.decode()
    assert len(subpay.request("GET", "/api/v1/payments/", user=user).json["items"]) == 1


def test_get_the_cost_back(subpay, user):
    paid = subpay.pay(user).json["payment_id"]
    subpay.settled(user, paid)
    answer = subpay.pay(user, payment_type="refund")
    assert answer.status == 202 and answer.json["amount"] is None
    refund = subpay.settled(user, answer.json["payment_id"])
    assert refund["payment_status"] == "accepted"
    assert refund["refund_of"] == paid and refund["amount"] == 39900
    assert subpay.request("GET", "/api/v1/subscriptions/", user=user).json["items"] == []
    again = subpay.settled(user, subpay.pay(user, payment_type="refund").json["payment_id"])
    assert (again["payment_status"], again["reason"]) == ("error", "nothing_to_refund")
    subpay.books_are_right()


def test_refund_with_nothing_to_refund(subpay, user):
    payment = subpay.settled(user, subpay.pay(user, payment_type="refund").json["payment_id"])
    assert (payment["processing_status"], payment["payment_status"], payment["reason"]) == (
        "completed", "error", "nothing_to_refund")
    assert subpay.journal() == []


def test_declined_and_refused(make_subpay, user):
    subpay = make_subpay(PROCESSING_OUTCOMES="decline=1").start()
    payment = subpay.settled(user, subpay.pay(user).json["payment_id"])
    assert (payment["processing_status"], payment["payment_status"]) == ("completed", "decline")
    assert subpay.request("GET", "/api/v1/subscriptions/", user=user).json["items"] == []
    other = subpay.pay(user)
    assert other.status == 202
    subpay.settled(user, other.json["payment_id"])
    subpay.books_are_right()


def test_a_double_click_is_one_attempt(make_subpay, user):
    subpay = make_subpay(PROCESSING_LATENCY_MS="300-300").start()
    token = subpay.token(user)
    ids = [subpay.pay(None, token=token).json["payment_id"] for _ in range(3)]
    payments = [subpay.settled(user, payment_id) for payment_id in ids]
    decided = [p for p in payments if p["processing_status"] == "completed"]
    assert len(decided) == 1
    assert {p["duplicate_of"] for p in payments if p not in decided} == {decided[0]["payment_id"]}
    assert len(subpay.journal()) == 1
    subpay.books_are_right()


def test_the_curl_that_is_printed_works(subpay):
    """`run` prints a ready-to-paste command; paste it."""
    import subprocess
    command = re.search(r"curl .*", subpay.output)
    assert command, subpay.output
    done = subprocess.run(["sh", "-c", command.group(0)], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0 and '"accepted":true' in done.stdout.replace(" ", ""), done
    until(lambda: subpay.rows("SELECT 1 FROM payments WHERE processing_status = 'completed'"), "it is paid")


def test_wait_holds_the_answer(make_subpay, user):
    subpay = make_subpay(PROCESSING_LATENCY_MS="700-700").start()
    payment_id = subpay.pay(user).json["payment_id"]
    answer = subpay.request("GET", f"/api/v1/payments/{payment_id}?wait=20", user=user)
    assert answer.status == 200
    assert answer.json["processing_status"] in ("processed", "completed")


def test_wait_ends_with_the_current_state(make_subpay, user):
    subpay = make_subpay(PROCESSING_LATENCY_MS="5000-5000").start()
    payment_id = subpay.pay(user).json["payment_id"]
    until(lambda: subpay.rows("SELECT 1 FROM payments WHERE processing_status = 'in_processing'"), "it is sent")
    answer = subpay.request("GET", f"/api/v1/payments/{payment_id}?wait=1", user=user)
    assert (answer.status, answer.json["processing_status"]) == (200, "in_processing")
