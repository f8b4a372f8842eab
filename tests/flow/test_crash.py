"""SIGKILL at any instruction: nothing that was answered 202 is lost, nothing is charged twice."""
import random

import distributed
from conftest import until

FAULTS = {"PROCESSING_FAULTS": "timeout=0.02,drop=0.02,500=0.02", "PROCESSING_TIMEOUT_MS": "1000",
          "PROCESSING_OUTCOMES": "success=0.9,decline=0.08,error=0.02", "PROCESSING_SEED": "7"}


def told(path):
    return {line for line in path.read_text().split("\n") if line}


def everything_is_stored(subpay, ids):
    stored = {row[0] for row in subpay.rows("SELECT id FROM payments")}
    assert not ids - stored, f"{len(ids - stored)} requests that were answered 202 are lost"


def test_a_thousand_users_at_once(make_subpay, tmp_path):
    """1,000 users send 1 to 3 requests each, at once; the processing misbehaves."""
    subpay = make_subpay(**FAULTS).start()
    parts = [(400, 1), (600, 2), (900, 3)]  # 400 + 300 + 300 users
    children = [(subpay.crowd(requests, per_user, tmp_path / f"ids{per_user}"), tmp_path / f"ids{per_user}")
                for requests, per_user in parts]
    for child, _ in children:
        out, err = child.communicate(timeout=120)
        assert child.returncode == 0, out + err
    subpay.rest(120)
    ids = set().union(*(told(path) for _, path in children))
    everything_is_stored(subpay, ids)
    assert subpay.rows("SELECT count(DISTINCT user_id) FROM payments")[0][0] == 1000
    without = subpay.rows(
        "SELECT count(*) FROM (SELECT p.user_id FROM payments p WHERE p.payment_status = 'accepted'"
        " GROUP BY p.user_id HAVING (SELECT count(*) FROM subscriptions s WHERE s.user_id = p.user_id) <> 1) AS odd")
    assert without == [(0,)], "a user with an accepted payment has exactly one subscription"
    subpay.books_are_right()


def test_kills_under_load(make_subpay, tmp_path):
    """kill -9 in the middle, ten times, wherever it happens to be. Kafka gives a dead reader's partitions to the next one
    after 6 s: there it is less."""
    subpay = make_subpay(**FAULTS)
    chance = random.Random(20261124)
    ids = set()
    rounds, requests = (3, 2000) if distributed.ON else (10, 20000)
    for round_ in range(rounds):
        subpay.start()
        path = tmp_path / f"ids{round_}"
        child = subpay.crowd(requests, 2, path, connections=32)
        goal = chance.randint(1, 400)
        before = subpay.rows("SELECT count(*) FROM payments")[0][0]
        until(lambda: subpay.rows("SELECT count(*) FROM payments")[0][0] >= before + goal, "some are stored")
        subpay.kill()
        child.communicate(timeout=60)  # it ends when its connections break, and writes what it was told
        ids |= told(path)
    subpay.start()
    subpay.rest(180)
    assert len(ids) > 100
    everything_is_stored(subpay, ids)
    subpay.books_are_right()


def test_kill_while_the_processing_holds_the_answer(make_subpay, user):
    """The call is out, the process dies: the next one learns the answer by the same key, no second charge."""
    subpay = make_subpay(PROCESSING_LATENCY_MS="300-300").start()
    payment_id = subpay.pay(user).json["payment_id"]
    until(lambda: subpay.rows("SELECT 1 FROM payments WHERE processing_status = 'in_processing'"), "it is sent")
    subpay.kill()
    subpay.start()
    assert subpay.settled(user, payment_id)["payment_status"] == "accepted"
    assert len(subpay.journal()) == 1
    subpay.books_are_right()


def test_sigterm_drains(make_subpay, tmp_path):
    """SIGTERM under load: exit 0, and what was accepted is there for the next process."""
    subpay = make_subpay(PROCESSING_LATENCY_MS="50-200").start()
    child = subpay.crowd(20000, 1, tmp_path / "ids", connections=32)
    until(lambda: subpay.rows("SELECT count(*) FROM payments")[0][0] > 100, "some are stored")
    subpay.stop()
    child.communicate(timeout=60)
    subpay.start()
    subpay.rest(120)
    everything_is_stored(subpay, told(tmp_path / "ids"))
    subpay.books_are_right()


def test_rewind_changes_nothing(subpay, user):
    """Reading the whole log again: no row, no charge more."""
    ids = [subpay.pay(user).json["payment_id"]]
    subpay.settled(user, ids[0])
    before = subpay.rows("SELECT * FROM payments"), subpay.rows("SELECT count(*) FROM events"), subpay.journal()
    assert subpay.cli("topic", "rewind", subpay.topic, "--beginning").stdout != ""
    until(subpay.is_read, "the log is read again", 15)
    after = subpay.rows("SELECT * FROM payments"), subpay.rows("SELECT count(*) FROM events"), subpay.journal()
    assert before == after
