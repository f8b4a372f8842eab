"""Clients that mean no good, or behave as if: what they may cost the others."""
import json
import os
import socket
import struct
import uuid

import process
import pytest
from conftest import BINARY, until

BUNDLE = "/api/openapi/swagger-ui-bundle.js"
WAITS_MAX = 16


def dial(port):
    return socket.create_connection(("127.0.0.1", port), timeout=40)


def status(connection):
    """Of the next answer on it."""
    text = b""
    while b"\r\n" not in text:
        piece = connection.recv(65536)
        assert piece, f"closed after {text!r}"
        text += piece
    return int(text.split()[1])


def resident_kb(subpay):
    with open(f"/proc/{subpay.process.pid}/status", encoding="ascii") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))


def test_a_big_page_that_nobody_reads_costs_no_memory(subpay):
    assert subpay.request("GET", BUNDLE).status == 200
    before, held = resident_kb(subpay), []
    for _ in range(100):
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", subpay.port))
        connection.sendall(f"GET {BUNDLE} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert connection.recv(1)
        held.append(connection)
    grown = resident_kb(subpay) - before
    for connection in held:
        connection.close()
    assert grown < 30_000, f"{grown} KB for 100 connections"


def test_pages_and_unknown_paths_count_but_health_does_not(make_subpay):
    subpay = make_subpay(RATE_LIMIT_ADDRESS="1:2").start()
    for path in (BUNDLE, "/nothing", "/api/v1/prices/"):
        answers = [subpay.request("GET", path) for _ in range(4)]
        assert answers[-1].status == 429 and int(answers[-1].headers["Retry-After"]) >= 1, path
    assert subpay.request("DELETE", "/api/v1/payments/").status == 429
    assert {subpay.request("GET", "/health/live").status for _ in range(20)} == {200}


def wait_for(subpay, token, seconds=30):
    connection = dial(subpay.port)
    connection.sendall(f"GET /api/v1/payments/{uuid.uuid4()}?wait={seconds} HTTP/1.1\r\nHost: x\r\n"
                       f"Authorization: Bearer {token}\r\n\r\n".encode())
    return connection


@pytest.mark.parametrize("reset", [False, True])
def test_a_wait_ends_with_its_client(subpay, user, reset):
    token = subpay.token(user)
    waits = [wait_for(subpay, token) for _ in range(WAITS_MAX)]

    def refused():
        with wait_for(subpay, token, 1) as one:
            return status(one) == 429
    until(refused, "the user has as many waits as he may")
    answer = subpay.request("GET", f"/api/v1/payments/{uuid.uuid4()}?wait=30", token=token)
    assert answer.status == 429 and answer.headers["Retry-After"] == "1", answer
    with wait_for(subpay, subpay.token(uuid.uuid4()), 1) as other:
        assert status(other) == 404
    for connection in waits:
        if reset:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()
    until(lambda: not refused(), "the waits are let go")


def test_many_waits_are_left_and_the_service_goes_on(subpay):
    """More than there are slots."""
    tokens = [subpay.token(uuid.uuid4()) for _ in range(20)]
    for turn in range(90):
        held = [wait_for(subpay, tokens[i % len(tokens)]) for i in range(100)]
        for connection in held:
            connection.close()
    user = str(uuid.uuid4())
    answer = until(lambda: (a := subpay.pay(user)).status != 503 and a, "a payment is taken")
    assert answer.status == 202
    subpay.settled(user, answer.json["payment_id"])


def test_connections_of_the_api_starve_nobody_else(make_subpay, monkeypatch, tmp_path):
    few = tmp_path / "few"
    few.write_text(f'#!/bin/sh\nulimit -n 400 && exec "{BINARY}" "$@"\n')
    few.chmod(0o755)
    monkeypatch.setattr(process, "BINARY", few)
    subpay = make_subpay().start()
    held = [dial(subpay.port) for _ in range(400)]
    for connection in held:
        connection.sendall(b"GET / HTTP/1.1\r\nX: ")
    assert subpay.request("GET", "/metrics", port=subpay.ops).status == 200
    assert subpay.request("GET", "/health/ready", port=subpay.ops).status == 200
    assert subpay.cli("topic", "produce", subpay.topic, stdin="x\n").returncode == 0
    for connection in held:
        connection.close()
    until(lambda: subpay.request("GET", "/health/live").status == 200, "the API answers again")


@pytest.mark.embedded
def test_a_folder_that_others_write_is_refused(make_subpay):
    subpay = make_subpay()
    subpay.data.mkdir(mode=0o700)
    subpay.data.chmod(0o777)
    for key in (subpay.SECRET, ""):
        done = subpay.cli("run", check=2, JWT_SECRET_KEY=key)
        assert f"DATA_DIR={subpay.data}" in done.stderr and "others" in done.stderr
    subpay.data.chmod(0o755)
    subpay.start()


@pytest.mark.embedded
@pytest.mark.parametrize("made, word", [(os.symlink, "symbolic link"), (os.link, "another name")])
def test_a_key_that_somebody_put_there_is_refused(make_subpay, tmp_path, made, word):
    subpay = make_subpay()
    subpay.data.mkdir(mode=0o700)
    theirs = tmp_path / "theirs"
    theirs.write_text("k" * 64)
    theirs.chmod(0o600)
    made(theirs, subpay.data / "jwt.key")
    done = subpay.cli("run", check=2, JWT_SECRET_KEY="")
    assert "jwt.key" in done.stderr and word in done.stderr


@pytest.mark.embedded
def test_the_key_of_two_that_start_at_once_has_one_name(make_subpay):
    subpay = make_subpay(JWT_SECRET_KEY="").start()
    assert [p.name for p in subpay.data.glob("jwt.key*")] == ["jwt.key"]
    assert (subpay.data / "jwt.key").stat().st_nlink == 1
    subpay.cli("token", "--user", str(uuid.uuid4()))


def test_a_full_last_page_has_no_next(subpay, user):
    token, refund = subpay.token(user), "/api/v1/payments/?payment_type=refund&subscription_type=month"
    for _ in range(100):
        assert subpay.request("POST", refund, token=token).status == 202
    path = "/api/v1/payments/?limit=100"
    until(lambda: len(subpay.request("GET", path, token=token).json["items"]) == 100, "all are stored")
    assert subpay.request("GET", path, token=token).json["next_cursor"] is None
    page = subpay.request("GET", "/api/v1/payments/?limit=99", token=token).json
    last = subpay.request("GET", f"/api/v1/payments/?limit=99&cursor={page['next_cursor']}", token=token).json
    assert len(last["items"]) == 1 and last["next_cursor"] is None


@pytest.mark.parametrize("query, body", [
    ("?payment_methd=4111111111111111", None), ("?payment_type=4111-1111-1111-1111&subscription_type=month", None),
    ("?4111111111111111=x", None), ("?payment_methd=secret-token", None),
    ("", {"4111111111111111": "x", "payment_type": "4111 1111 1111 1111", "subscription_type": "month"}),
])
def test_what_should_not_be_shown_is_not(subpay, user, query, body):
    answer = subpay.request("POST", "/api/v1/payments/" + query, user=user, body=json.dumps(body) if body else None,
                            headers={"Content-Type": "application/json"} if body else {})
    assert answer.status == 422
    text = answer.body.decode().replace("-", "").replace(" ", "")
    assert "411111" not in text and "secrettoken" not in text, text


def test_a_long_name_is_cut_and_the_answer_whole(subpay, user):
    body = "{" + ",".join(f'"{chr(0x7f) * 900}{i}":1' for i in range(17)) + "}"
    answer = subpay.request("POST", "/api/v1/payments/", user=user, body=body,
                            headers={"Content-Type": "application/json"})
    assert answer.status == 422 and answer.json["errors"]
    assert all(len(error["name"]) < 300 for error in answer.json["errors"])


def test_credentials_in_a_url_are_not_told(make_subpay):
    done = make_subpay().cli("run", check=2, PROCESSOR="http://me:hush@host:x/y")
    assert "PROCESSOR" in done.stderr and "hush" not in done.stderr and "***@host" in done.stderr


def test_a_mail_folder_that_cannot_be_names_itself(make_subpay):
    subpay = make_subpay().with_engines()
    subpay.data.mkdir(mode=0o700)
    (subpay.data / "mail").write_text("")
    done = subpay.cli("run", check=1)
    assert str(subpay.data / "mail") in done.stderr and "Not a directory" in done.stderr
