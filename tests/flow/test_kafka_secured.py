"""Kafka with TLS and logins, by KAFKA_CONFIG: what works, and what is said of what does not."""
import ctypes
import socket
import ssl
import time

import kafka
import pytest
from conftest import until

pytestmark = pytest.mark.distributed
# Against Kafka 4 before 2.6.1 "invalid credentials" every time.
SCRAM_WORKS = kafka.VERSION < "4" or ctypes.CDLL("librdkafka.so.1").rd_kafka_version() >= 0x02060100
WRONG = "no-password-of-anybody"


@pytest.fixture(scope="module")
def broker():
    with kafka.Broker(secured=True) as one:
        host, port = one.secured.split(":")
        tls = ssl.create_default_context(cafile=one.folder / "ca.pem")
        with socket.create_connection((host, port)) as s, tls.wrap_socket(s, server_hostname=host):
            pass  # the first handshake of a JVM takes its time
        yield one


@pytest.fixture
def secured(make_subpay, broker, tmp_path):
    """secured(property=value, …): a Subpay with the file that logs in, with these properties different or (None) not there."""
    def make(address=None, **different):
        properties = {"security.protocol": "sasl_ssl", "ssl.ca.location": broker.folder / "ca.pem",
                      "sasl.mechanism": "PLAIN", "sasl.username": kafka.USER, "sasl.password": kafka.PASSWORD,
                      **{name.replace("_", "."): value for name, value in different.items()}}
        path = tmp_path / "kafka.properties"
        path.write_text("".join(f"{name}={value}\n" for name, value in properties.items() if value is not None))
        return make_subpay(broker=broker.bootstrap, KAFKA_BROKERS=address or broker.secured, KAFKA_CONFIG=path)
    return make


def says_no_secret(*texts):
    assert not any(secret in text for secret in (kafka.PASSWORD, WRONG) for text in texts), texts


def refused(subpay, code, *words):
    """One line that names the setting and why, soon."""
    start = time.monotonic()
    done = subpay.cli("topic", "list", check=code)
    assert time.monotonic() - start < 8 and done.stdout == ""
    assert done.stderr.count("\n") == 1 and "KAFKA_CONFIG" in done.stderr, done.stderr
    assert all(word in done.stderr for word in words), done.stderr
    says_no_secret(done.stderr)
    return done.stderr


@pytest.mark.parametrize("mechanism", kafka.MECHANISMS)
def test_every_way_to_log_in(secured, mechanism):
    subpay = secured(sasl_mechanism=mechanism)
    if mechanism.startswith("SCRAM") and not SCRAM_WORKS:
        assert "Kafka 4: librdkafka before 2.6.1 cannot log in there by SCRAM; use" in refused(subpay, 1, mechanism)
        return
    subpay.cli("topic", "create", subpay.topic, "--partitions", "3")
    assert {subpay.topic, subpay.topic + ".rejected"} <= set(subpay.cli("topic", "list").stdout.split())
    assert "partitions 3" in subpay.cli("topic", "check", subpay.topic).stdout
    subpay.cli("topic", "produce", subpay.topic, "-K", ":", stdin="key:value\n")
    consume = ("consume", subpay.topic, "--from-beginning", "--max-messages", "1", "--timeout-ms", "10000")
    assert subpay.cli("topic", *consume).stdout == "key\tvalue\n"


def test_services_log_in(secured, user):
    subpay = secured().start()
    subpay.settled(user, subpay.pay(user).json["payment_id"])
    subpay.rest()
    subpay.books_are_right()
    metrics = subpay.request("GET", "/metrics", port=subpay.ops).body.decode()
    subpay.stop()
    says_no_secret(subpay.output, subpay.errors(), metrics, subpay.cli("config").stdout)


@pytest.mark.parametrize("different, words", [
    ({"sasl_password": WRONG}, ("sasl.password", "Invalid username or password")),
    ({"sasl_username": "nobody"}, ("sasl.username", "Invalid username or password")),
    ({"ssl_ca_location": None}, ("ssl.ca.location", "certificate verify failed")),
    ({"security_protocol": "plaintext"}, ("security.protocol", "connecting to a SSL listener?")),
    ({"security_protocol": "ssl"}, ("security.protocol", "broker might require SASL authentication")),
], ids=lambda value: "-".join(value) if isinstance(value, dict) else "")
def test_brokers_that_refuse(secured, different, words):
    refused(secured(**different), 1, *words)


def test_a_broker_of_another_ca(secured, tmp_path):
    kafka.make_certificates(tmp_path)
    refused(secured(ssl_ca_location=tmp_path / "ca.pem"), 1, "ssl.ca.location", "certificate verify failed")


def test_a_broker_without_tls(secured, broker):
    refused(secured(broker.bootstrap), 1, "security.protocol", "sasl_ssl://")


def test_files_that_are_refused(secured):
    refused(secured(ssl_ca_location="/nowhere.pem"), 2, "ssl.ca.location")
    refused(secured(sasl_mechanism=None), 2, "kafka.properties: sasl.username is set, but sasl.mechanism is not")
    refused(secured(security_protocol="tls"), 2, "kafka.properties, line 1: security.protocol has a value")


def test_a_service_says_why_it_is_not_ready(secured, user):
    subpay = secured()
    subpay.with_engines()
    properties = subpay.environment["KAFKA_CONFIG"]
    right = open(properties, encoding="ascii").read()
    open(properties, "w", encoding="ascii").write(right.replace(kafka.PASSWORD, WRONG))
    subpay.start()
    until(lambda: subpay.request("GET", "/health/ready", port=subpay.ops).status == 503, "it is not ready")
    answer = subpay.pay(user)
    assert answer.status == 503 and answer.json["payment_id"]
    why = "KAFKA_CONFIG, sasl.username and sasl.password: sasl_ssl://"
    until(lambda: why in subpay.errors() and "Invalid username or password" in subpay.errors(), "the log says why")
    subpay.stop()
    says_no_secret(subpay.errors(), answer.body.decode())
