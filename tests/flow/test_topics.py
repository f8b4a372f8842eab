"""The queue from outside: our records, those of the console tools, those of the original service."""
import json
import subprocess
import uuid

import distributed
import pytest
from conftest import BINARY, until


def consume(subpay, topic, count):
    done = subpay.cli("topic", "consume", topic, "--from-beginning", "--max-messages", str(count), "--timeout-ms", "10000")
    return [line.split("\t", 1) for line in done.stdout.split("\n") if line]


def stored(subpay, count):
    until(lambda: subpay.rows("SELECT count(*) FROM payments")[0][0] >= count, f"{count} payments are stored")


def test_topics_are_listed(subpay):
    names = subpay.cli("topic", "list").stdout.split()
    assert {subpay.topic, subpay.topic + ".rejected"} <= set(names)


@pytest.fixture
def single(make_subpay):
    """With one partition: all records are in one order."""
    return make_subpay(partitions=1).start()


def test_how_far_a_topic_is_read(single, user):
    single.settled(user, single.pay(user).json["payment_id"])
    until(lambda: f"{single.topic}\t1\t1\t1\t0\n" in single.cli("topic", "list", "--long").stdout, "one record, read")
    assert f"{single.topic}.rejected\t0\t0\t0\t0\n" in single.cli("topic", "list", "--long").stdout


def test_rewind_says_what_it_moved(single, user):
    single.settled(user, single.pay(user).json["payment_id"])
    rewind = ("topic", "rewind", single.topic)
    assert single.cli(*rewind, "--beginning").stdout == f"{single.topic}: 1 -> 0\n"
    until(lambda: single.rows("SELECT next FROM positions") == [(1,)], "it is read again")
    assert "--to 9: allowed are 0 to 1" in single.cli(*rewind, "--to", "9", check=1).stderr
    single.stop()
    assert single.cli(*rewind, "--to", "0").stdout == f"{single.topic}: 1 -> 0\n"
    single.cli(*rewind, "--to", "9", check=1)
    assert "--partition 4" in single.cli(*rewind, "--to", "0", "--partition", "4", check=1).stderr


def test_a_complaint_names_the_whole_command(subpay):
    done = subpay.cli("topic", "list", subpay.topic, check=2)
    assert f"topic list: unexpected argument {subpay.topic}" in done.stderr and "subpay topic list --help" in done.stderr
    subpay.cli("topic", "list", "--help")


def test_a_request_is_a_record(subpay, user):
    payment_id = subpay.pay(user).json["payment_id"]
    key, value = consume(subpay, subpay.topic, 1)[0]
    record = json.loads(value)
    assert key == user == record["user_id"]
    assert (record["payment_id"], record["payment_type"], record["subscription_type"]) == (
        payment_id, "payment", "month")
    assert record["requested_at"].endswith("Z")


def test_records_of_others(subpay):
    """The original service's bytes, and a console producer's with and without key."""
    a, b, c = (str(uuid.uuid4()) for _ in range(3))
    original = '{"payment_id":"month","topic":"payments","status":"new","payment_type":"payment"}'
    subpay.cli("topic", "produce", subpay.topic, "-K", "|", stdin=f"{a}:month|{original}\n")
    subpay.cli("topic", "produce", subpay.topic,
               stdin=json.dumps({"user_id": b, "payment_type": "payment", "subscription_type": "year"}) + "\n")
    subpay.cli("topic", "produce", subpay.topic, "-K", "|",
               stdin=f'{c}|{json.dumps({"payment_type": "cancellation", "subscription_type": "month"})}\n')
    stored(subpay, 3)
    subpay.rest()
    rows = {row[0]: row[1:] for row in subpay.rows(
        "SELECT user_id, payment_type, subscription_type, payment_status FROM payments")}
    assert rows == {a: ("payment", "month", "accepted"), b: ("payment", "year", "accepted"),
                    c: ("refund", "month", "error")}
    subpay.books_are_right()


def headers(subpay):
    """Of what was rejected."""
    if subpay.engines:
        done = distributed.tool("kafka-console-consumer", "--topic", subpay.topic + ".rejected", "--from-beginning",
                                "--max-messages", "6", "--property", "print.headers=true", "--property", "print.value=false")
        return [dict(header.split(":", 1) for header in line.split(",")) for line in done.splitlines()]
    return [json.loads(row[0]) for row in subpay.rows(
        "SELECT headers FROM queue_records JOIN queue_topics t ON t.id = topic_id"
        " WHERE topic = 'payments.rejected' ORDER BY offset")]


def test_what_cannot_be_understood_is_kept(single, user):
    subpay = single
    good = json.dumps({"user_id": user, "payment_type": "payment", "subscription_type": "month"})
    conflict = str(uuid.uuid4())
    lines = ["not json", "{}", json.dumps({"user_id": "me", "payment_type": "payment", "subscription_type": "month"}),
             json.dumps({"user_id": user, "payment_type": "gift", "subscription_type": "month"}),
             json.dumps({"user_id": user, "payment_type": "payment", "subscription_type": "month",
                         "requested_at": "2019-12-31T23:59:59Z"}),
             json.dumps({"payment_id": conflict, "user_id": user, "payment_type": "refund", "subscription_type": "month"}),
             json.dumps({"payment_id": conflict, "user_id": user, "payment_type": "refund", "subscription_type": "year"}),
             good]
    subpay.cli("topic", "produce", subpay.topic, stdin="\n".join(lines) + "\n")
    stored(subpay, 2)
    subpay.rest()
    rejected = [value for _, value in consume(subpay, subpay.topic + ".rejected", 6)]
    assert rejected == [lines[i] for i in (0, 1, 2, 3, 4, 6)]
    errors = headers(subpay)
    assert [e["error"] for e in errors] == ["not_json", "no_user_id", "no_user_id", "no_payment_type",
                                            "no_price", "id_conflict"]
    assert [e["offset"] for e in errors] == ["0", "1", "2", "3", "4", "6"]
    assert all(e["topic"] == subpay.topic and e["partition"] == "0" and e["at"] for e in errors)
    subpay.books_are_right()


def test_produce_while_nothing_runs(make_subpay, user):
    subpay = make_subpay().start()
    subpay.stop()
    subpay.cli("topic", "produce", subpay.topic,
               stdin=json.dumps({"user_id": user, "payment_type": "payment", "subscription_type": "month"}) + "\n")
    subpay.start()
    stored(subpay, 1)
    subpay.rest()
    subpay.books_are_right()


def test_a_record_over_the_limit_names_the_line(subpay):
    done = subpay.cli("topic", "produce", subpay.topic, stdin="{}\n" + "x" * (1024 * 1024 + 1) + "\n", check=1)
    assert "line 2" in done.stderr
    assert [value for _, value in consume(subpay, subpay.topic, 1)] == ["{}"]
    until(lambda: f"{subpay.topic}.rejected\t1\t" in subpay.cli("topic", "list", "--long").stdout, "one came, and is read")


def test_an_unknown_topic(subpay):
    for arguments in (("produce", "nothing"), ("consume", "nothing"), ("rewind", "nothing", "--beginning")):
        done = subpay.cli("topic", *arguments, stdin="", check=1)
        assert "nothing" in done.stderr


def test_consume_ends_when_nobody_reads(subpay, user):
    """`topic consume … | head -1`: no further record comes that a write could fail with."""
    subpay.pay(user)
    child = subprocess.Popen([BINARY, "topic", "consume", subpay.topic, "--from-beginning"], env=subpay.environment,
                             cwd=subpay.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert child.stdout.readline().startswith(user + "\t")
    child.stdout.close()
    try:
        assert child.wait(10) == 0
        assert child.stderr.read() == ""
    finally:
        child.kill()
        child.stderr.close()


def test_consume_follows(subpay, user):
    child = subprocess.Popen([BINARY, "topic", "consume", subpay.topic], env=subpay.environment, cwd=subpay.folder,
                             stdout=subprocess.PIPE, text=True)
    try:
        # The reader starts at the end; requests are made until one is seen.
        def seen():
            subpay.pay(user, payment_type="refund")
            import select
            return select.select([child.stdout], [], [], 0.2)[0]
        until(seen, "a record arrives")
        assert child.stdout.readline().startswith(user + "\t")
    finally:
        child.terminate()
        assert child.wait(10) == 0
        child.stdout.close()
