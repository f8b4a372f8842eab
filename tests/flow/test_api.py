"""The HTTP contract, from outside."""
import base64
import hashlib
import hmac
import json
import re
import socket
import time
import uuid

import pytest
from conftest import Subpay, until

PAY = "/api/v1/payments/?payment_type=payment&subscription_type=month"


@pytest.fixture(scope="module")
def api(tmp_path_factory):
    subpay = Subpay(tmp_path_factory.mktemp("api")).start()
    yield subpay
    subpay.kill()


def jwt(claims, secret=Subpay.SECRET, header=None):
    def part(value):
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=")
    text = part(header or {"alg": "HS256", "typ": "JWT"}) + b"." + part(claims)
    mac = hmac.new(secret.encode(), text, hashlib.sha256).digest()
    return (text + b"." + base64.urlsafe_b64encode(mac).rstrip(b"=")).decode()


def claims(**more):
    return {"sub": str(uuid.uuid4()), "exp": int(time.time()) + 60, **more}


def is_problem(answer, status):
    assert answer.status == status, answer
    assert answer.headers["Content-Type"].startswith("application/problem+json")
    assert answer.json["status"] == status and answer.json["title"]
    return answer.json


@pytest.mark.parametrize("path", ["/", "/nothing", "/api/v1/", "/api/v1/payment/", "/api/v2/payments/"])
def test_unknown_route(api, path):
    is_problem(api.request("GET", path), 404)


def test_unknown_route_points_to_the_document(api):
    for path in ("/", "/docs"):
        assert "/api/openapi" in is_problem(api.request("GET", path), 404)["detail"]


@pytest.mark.parametrize("query, detail", [
    ("subscription_type=month", "payment_type is missing: allowed is payment or refund"),
    ("payment_type=gift&subscription_type=month", "payment_type: allowed is payment or refund"),
    ("payment_type=payment&subscription_type=month&wait=5", "no such parameter: wait"),
])
def test_details_name_the_field(api, user, query, detail):
    assert is_problem(api.request("POST", f"/api/v1/payments/?{query}", user=user), 422)["detail"] == detail


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "TRACE"])
def test_method_not_allowed(api, method):
    answer = api.request(method, "/api/v1/payments/")
    assert answer.status == 405
    allowed = {m.strip() for m in answer.headers["Allow"].split(",")}
    assert {"GET", "POST"} <= allowed and method not in allowed


@pytest.mark.parametrize("slash", ["", "/"])
def test_with_and_without_the_last_slash(api, slash, user):
    token = api.token(user)
    assert api.request("GET", "/api/v1/payments" + slash, token=token).status == 200
    assert api.request("GET", "/api/v1/subscriptions" + slash, token=token).status == 200
    assert api.request("GET", "/api/v1/prices" + slash, token=token).status == 200
    assert api.request("GET", "/health/live" + slash).status == 200


@pytest.mark.parametrize("what, token", [
    ("none at all", None), ("no token", ""), ("garbage", "a.b.c"),
    ("expired", jwt(claims(exp=int(time.time()) - 31))),
    ("no exp", jwt({"sub": str(uuid.uuid4())})), ("not yet", jwt(claims(nbf=int(time.time()) + 90))),
    ("no user", jwt({"exp": int(time.time()) + 60})), ("no uuid", jwt(claims(user_id="me"))),
    ("another key", jwt(claims(), secret="x" * 40)),
    ("alg none", jwt(claims(), header={"alg": "none"})), ("another alg", jwt(claims(), header={"alg": "HS512"})),
])
def test_unauthorized(api, what, token):
    headers = {"Authorization": f"Bearer {token}"} if token is not None else {}
    for method, path in (("POST", PAY), ("POST", "/api/v1/payments/?bad=1"), ("GET", "/api/v1/payments/")):
        answer = api.request(method, path, headers=headers)
        is_problem(answer, 401)
        assert answer.headers["WWW-Authenticate"].startswith("Bearer"), what


@pytest.mark.parametrize("more", [
    lambda now: {"exp": now - 20}, lambda now: {"nbf": now + 20},
    lambda now: {"user_id": str(uuid.uuid4()).upper()}, lambda now: {"roles": ["admin"]},
])
def test_authorized_within_leeway(api, more):
    token = jwt(claims(**more(int(time.time()))))  # made now: the leeway runs
    assert api.request("GET", "/api/v1/payments/", token=token).status == 200


@pytest.mark.parametrize("query, where, name", [
    ("payment_type=payment", "query", "subscription_type"),
    ("subscription_type=month", "query", "payment_type"),
    ("payment_type=gift&subscription_type=month", "query", "payment_type"),
    ("payment_type=payment&subscription_type=week", "query", "subscription_type"),
    ("payment_type=payment&payment_type=payment&subscription_type=month", "query", "payment_type"),
    ("payment_type=payment&subscription_type=month&gift=1", "query", "gift"),
])
def test_unacceptable_query(api, user, query, where, name):
    problem = is_problem(api.request("POST", f"/api/v1/payments/?{query}", user=user), 422)
    assert (where, name) in {(e["in"], e["name"]) for e in problem["errors"]}, problem


@pytest.mark.parametrize("body, status", [
    (b"{", 400), (b'{"payment_type":"payment","payment_type":"payment","subscription_type":"month"}', 400),
    (b'{"payment_type":"\\ud800","subscription_type":"month"}', 400), (b"[]", 422), (b"null", 422),
    (b'{"payment_type":"payment"}', 422), (b'{"payment_type":1,"subscription_type":"month"}', 422),
    (b'{"payment_type":"payment","subscription_type":"month","gift":true}', 422),
    (b'{"payment_type":"payment","subscription_type":"month","payment_method":"4242 4242-4242 4242"}', 422),
    (b'{"payment_type":"payment","subscription_type":"month","payment_method":"' + b"x" * 256 + b'"}', 422),
    (b'{"payment_type":"payment","subscription_type":"month","payment_method":"tok_1"}', 202),
    (b'{"payment_type":"payment","subscription_type":"month"}', 202),
])
def test_body(api, user, body, status):
    answer = api.request("POST", "/api/v1/payments/", user=user, body=body,
                         headers={"Content-Type": "application/json"})
    assert answer.status == status, answer


def test_same_field_in_query_and_body(api, user):
    answer = api.request("POST", PAY, user=user, body=b'{"payment_type":"payment"}',
                         headers={"Content-Type": "application/json"})
    is_problem(answer, 422)


def test_other_content_type(api, user):
    is_problem(api.request("POST", PAY, user=user, body=b"a=b",
                           headers={"Content-Type": "application/x-www-form-urlencoded"}), 415)


def test_body_over_the_limit(api, user):
    answer = api.request("POST", PAY, user=user, body=b'{"payment_method":"' + b"x" * 17000 + b'"}',
                         headers={"Content-Type": "application/json"})
    assert answer.status == 413


@pytest.mark.parametrize("key", ["", "a b", "ключ".encode().decode("latin-1"), "x" * 256])
def test_bad_idempotency_key(api, user, key):
    answer = api.request("POST", PAY, user=user, headers={"Idempotency-Key": key})
    problem = is_problem(answer, 422)
    assert problem["errors"][0]["in"] == "header"


def test_idempotency_key(api, user):
    first = api.pay(user, key="order-1")
    name = "\x1f".join([user, "order-1", "payment", "month"])
    assert first.json["payment_id"] == str(uuid.uuid5(uuid.UUID("2d0c5c0e-6f5b-5b0a-9d5e-7b1f3a9c4e21"), name))
    api.settled(user, first.json["payment_id"])
    again = api.pay(user, key="order-1")
    assert again.status == 202 and again.headers["Idempotent-Replayed"] == "true"
    assert {k: again.json[k] for k in ("payment_id", "amount", "currency")} == {
        k: first.json[k] for k in ("payment_id", "amount", "currency")}
    conflict = is_problem(api.pay(user, subscription_type="year", key="order-1"), 422)
    assert conflict["detail"].startswith("Idempotency-Key: ")
    is_problem(api.pay(user, payment_type="refund", key="order-1"), 422)
    assert api.pay(user, key="order-2").status == 409
    assert len(api.request("GET", "/api/v1/payments/", user=user).json["items"]) == 1


def test_somebody_elses_payment(api, user):
    mine = api.pay(user).json["payment_id"]
    api.settled(user, mine)
    is_problem(api.request("GET", f"/api/v1/payments/{mine}", user=uuid.uuid4()), 404)


def test_unknown_payment(api, user):
    answer = api.request("GET", f"/api/v1/payments/{uuid.uuid4()}", user=user)
    is_problem(answer, 404)
    assert answer.headers["Retry-After"] == "1"


def test_pages_of_payments(api, user):
    token = api.token(user)
    ids = []
    for _ in range(5):
        ids.append(api.pay(None, token=token, payment_type="refund").json["payment_id"])
        api.settled(user, ids[-1])
    seen, cursor = [], None
    while True:
        page = api.request("GET", "/api/v1/payments/?limit=2" + (f"&cursor={cursor}" if cursor else ""),
                           token=token).json
        seen += [p["payment_id"] for p in page["items"]]
        cursor = page["next_cursor"]
        if not cursor:
            break
        assert len(page["items"]) == 2
    assert seen == ids[::-1]
    for bad in ("limit=0", "limit=101", "limit=x", "cursor=%00", "cursor=nonsense"):
        is_problem(api.request("GET", f"/api/v1/payments/?{bad}", token=token), 422)


def test_prices(api, user):
    items = api.request("GET", "/api/v1/prices/", user=user).json["items"]
    assert {(i["subscription_type"], i["cost"], i["currency"], i["starting_date"]) for i in items} == {
        ("month", 39900, "RUB", "2020-01-01"), ("three_months", 99900, "RUB", "2020-01-01"),
        ("year", 299900, "RUB", "2020-01-01")}


def test_a_payment_has_every_member(api, user):
    payment = api.settled(user, api.pay(user).json["payment_id"])
    assert set(payment) == {"payment_id", "payment_type", "subscription_type", "processing_status",
                            "payment_status", "payment_date", "amount", "currency", "expiration_date",
                            "duplicate_of", "refund_of", "reason", "action_url", "needs_decision", "waits_for"}


def exchange(port, data, wait=3.0):
    """Raw bytes in, everything that comes back until the other side closes or is silent."""
    with socket.create_connection(("127.0.0.1", port), timeout=wait) as s:
        s.sendall(data)
        got = b""
        try:
            while piece := s.recv(65536):
                got += piece
        except (TimeoutError, ConnectionResetError):
            return got, False
        return got, True


@pytest.mark.parametrize("data, statuses", [
    (b"GET /health/live HTTP/1.1\r\n\r\n", (b"400",)),
    (b"GET /health/live HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", (b"400",)),
    (b"POST /api/v1/payments/ HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", (b"400",)),
    (b"POST /api/v1/payments/ HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\na", (b"400",)),
    (b"POST /api/v1/payments/ HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
     (b"400",)),
    (b"POST /api/v1/payments/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n", (b"400",)),
    (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 70000 + b"\r\n\r\n", (b"400", b"431")),
    (b"GET /" + b"x" * 70000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", (b"400", b"414", b"431")),
    (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", (b"400", b"501")),
])
def test_what_is_not_http_is_refused_and_closed(api, data, statuses):
    got, closed = exchange(api.port, data)
    assert got.startswith(b"HTTP/1.1 ") and got.split()[1] in statuses, got[:200]
    assert closed


def test_pipelined_requests_are_answered_in_turn(api):
    one = b"GET /health/live HTTP/1.1\r\nHost: a\r\n\r\n"
    two = b"GET /nothing HTTP/1.1\r\nHost: a\r\n\r\n"
    got, _ = exchange(api.port, one + two + one, wait=1.0)
    statuses = re.findall(rb"HTTP/1\.1 (\d+) ", got)
    assert statuses == [b"200", b"404", b"200"]


def test_the_process_is_alive_after_all_this(api, user):
    assert api.request("GET", "/health/live").status == 200
    payment = api.settled(user, api.pay(user).json["payment_id"])
    assert payment["payment_status"] == "accepted"
    until(lambda: api.rows("SELECT count(*) FROM payments WHERE processing_status NOT IN"
                           " ('completed', 'duplicated')") == [(0,)], "all is decided")
    api.books_are_right()
