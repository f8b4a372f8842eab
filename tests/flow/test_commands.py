"""The command line and the configuration: exit codes, one line that names what is wrong, files and ports."""
import os
import socket
import stat
import uuid

import pytest
from conftest import until


def one_line(done, *words):
    lines = done.stderr.strip().split("\n")
    assert len(lines) == 1, done.stderr
    for word in words:
        assert word in lines[0], lines[0]


COMMANDS = ["run", "subscription-app", "saver", "processor", "processing", "notifier", "migrate", "token", "topic",
            "price", "decide", "backup", "copy", "restored", "audit", "prove", "config"]


def test_help_and_version(make_subpay):
    subpay = make_subpay()
    help_ = subpay.cli("--help").stdout
    assert subpay.cli("--version").stdout.startswith("subpay ")
    assert subpay.cli("help").stdout == help_
    names = [line.split()[0] for line in help_.split("commands:\n")[1].split("\n\n")[0].split("\n")]
    assert names == COMMANDS
    for name in names:
        told = subpay.cli(name, "--help").stdout
        assert told.startswith(f"subpay {name}: ") and f"usage: subpay {name}" in told
        assert len(told.rstrip().split("\n\n")) >= 3, f"{name} --help does not say what it does"
        assert subpay.cli("help", name).stdout == told
    assert "3600" in subpay.cli("token", "--help").stdout
    assert "Exit: 0" in subpay.cli("audit", "--help").stdout
    assert "--markdown" in subpay.cli("config", "--help").stdout


def test_prove(make_subpay):
    """Its bounds 1 and 2 run as a program of their own; here: it is a command."""
    subpay = make_subpay()
    done = subpay.cli("prove", "--bound", "1")
    assert "8 of 8 worlds as they should be" in done.stdout and "states" in done.stdout
    one_line(subpay.cli("prove", "--bound", "9", check=2), "--bound", "9", "1 to 4")
    one_line(subpay.cli("prove", "--world", "flat", check=2), "--world", "flat")
    one_line(subpay.cli("prove", "3", check=2), "3 is unknown", "--bound")


@pytest.mark.parametrize("arguments, words", [
    ((), ("command", "run", "--help")), (("dance",), ("dance",)), (("run", "--fast"), ("--fast",)), (("token",), ("--user",)),
    (("token", "--user", "me"), ("--user", "me")), (("token", "--user", str(uuid.uuid4()), "--ttl", "0"), ("--ttl", "0")),
    (("token", "--user", str(uuid.uuid4()), "--role", "king"), ("--role", "king")),
    (("topic",), ("topic",)), (("topic", "fly"), ("fly",)), (("topic", "rewind", "payments"), ("--",)),
    (("topic", "rewind", "payments", "--to", "-1"), ("--to", "-1")), (("migrate",), ("migrate",)),
    (("migrate", "sideways"), ("sideways",)), (("audit", "--loud"), ("--loud",)),
])
def test_wrong_usage(make_subpay, arguments, words):
    done = make_subpay().cli(*arguments, check=2)
    for word in words:
        assert word in done.stderr.split("\n")[0], done.stderr


@pytest.mark.parametrize("environment, words", [
    ({"KAFKA_HOST": "broker", "DATABASE_URL": ""}, ("DATABASE_URL",)),
    ({"DATABASE_URL": "postgresql://u@h/d", "KAFKA_BROKERS": ""}, ("KAFKA_HOST",)),
    ({"BATCH_SIZE": "0"}, ("BATCH_SIZE", "0", "1", "10000")),
    ({"LOG_LEVEL": "loud"}, ("LOG_LEVEL", "loud", "debug")),
    ({"ENVIRONMENT": "moon"}, ("ENVIRONMENT", "moon", "prod")),
    ({"PROCESSING_OUTCOMES": "success=0.5"}, ("PROCESSING_OUTCOMES", "success=0.5")),
    ({"PROCESSING_KEY_TTL": "3600"}, ("REQUEST_MAX_AGE",)),
    ({"SUBSCRIPTION_APP_LISTEN": "here"}, ("SUBSCRIPTION_APP_LISTEN", "here")),
    ({"JWT_SECRET_KEY": "short"}, ("JWT_SECRET_KEY", "32")),
    ({"ENVIRONMENT": "prod"}, ("PROCESSOR",)),
    ({"JWT_SECRET_KEY": "", "ENVIRONMENT": "prod", "PROCESSOR": "https://pay.example"}, ("JWT_SECRET_KEY",)),
])
def test_wrong_configuration(make_subpay, environment, words):
    done = make_subpay().cli("run", check=2, **environment)
    one_line(done, *words)
    assert Subpay_secret_not_shown(done)


def Subpay_secret_not_shown(done):
    return "flow-tests-flow-tests" not in done.stdout + done.stderr


@pytest.mark.embedded
@pytest.mark.parametrize("service", ["subscription-app", "saver", "processor", "notifier"])
def test_a_single_service_on_the_embedded_engines(make_subpay, service):
    one_line(make_subpay().cli(service, check=2), service)


def test_the_simulator_alone(make_subpay):
    subpay = make_subpay().start("processing")
    subpay.stop()
    done = subpay.cli("processing", check=2, ENVIRONMENT="prod")
    one_line(done, "ENVIRONMENT")


def test_one_simulator_a_data_dir(make_subpay):
    """Two would make two answers for one key: the second one is refused, also beside `run` with a simulator of its own."""
    subpay = make_subpay().start("processing")
    one_line(subpay.cli("processing", check=1), f"process {subpay.process.pid}:", f"DATA_DIR={subpay.data}")
    one_line(subpay.cli("run", check=1), f"process {subpay.process.pid}:")
    subpay.stop()
    subpay.start()
    one_line(subpay.cli("processing", check=1), f"process {subpay.process.pid}:")
    subpay.kill()
    subpay.start("processing").stop()


@pytest.mark.parametrize("name", ["SUBSCRIPTION_APP_LISTEN", "OPS_LISTEN", "PROCESSING_LISTEN"])
def test_a_port_that_is_taken(make_subpay, name):
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        s.listen()
        port = s.getsockname()[1]
        done = make_subpay().with_engines().cli("run", check=2, **{name: f"127.0.0.1:{port}"})
        one_line(done, name, str(port))


@pytest.mark.embedded
def test_a_second_process_is_refused_with_the_pid(make_subpay):
    subpay = make_subpay().start()
    done = subpay.cli("run", check=1)
    one_line(done, str(subpay.process.pid), f"DATA_DIR={subpay.data}", "in use by process", "another DATA_DIR")
    assert subpay.request("GET", "/health/live").status == 200


@pytest.mark.parametrize("key", [pytest.param("", marks=pytest.mark.embedded), "k" * 40])
@pytest.mark.parametrize("data_dir, word", [
    ("/dev/null", "is not a directory"), ("/dev/null/data", "is not a directory"),
    ("/proc/nobody/data", "cannot be written"), ("d" * 300, "is too long")])
def test_a_data_dir_that_cannot_be_used_is_named(make_subpay, key, data_dir, word):
    done = make_subpay().with_engines().cli("run", check=2, DATA_DIR=data_dir, JWT_SECRET_KEY=key)
    one_line(done, f"DATA_DIR={data_dir}: {word}")
    assert "jwt.key" not in done.stderr


def test_an_address_is_named_once(make_subpay):
    done = make_subpay().with_engines().cli("run", check=2, SUBSCRIPTION_APP_LISTEN="192.0.2.1:8101")
    refusal = done.stderr.strip().split("\n")[-1]  # before it stands the warning that it is not loopback
    assert refusal.startswith("subpay: SUBSCRIPTION_APP_LISTEN=192.0.2.1:8101: ")
    assert refusal.count("192.0.2.1") == 1


@pytest.mark.embedded
def test_a_token_without_a_key_makes_one_and_says_so(make_subpay, user):
    subpay = make_subpay(JWT_SECRET_KEY="")
    one_line(subpay.cli("token", "--user", user), "made a new key in", str(subpay.data / "jwt.key"))
    assert subpay.cli("token", "--user", user).stderr == ""


def test_warnings_at_the_start(make_subpay):
    subpay = make_subpay(ENVIRONMENT="prod", PROCESSOR="http://127.0.0.1:9")
    (subpay.folder / ".env").write_text("BATCH_SZE=7\n")
    subpay.start()
    until(lambda: "BATCH_SZE" in subpay.errors() and "DATA_DIR/mail" in subpay.errors(), "both are told")


@pytest.mark.embedded
def test_the_first_start_makes_a_key(make_subpay, user):
    subpay = make_subpay(JWT_SECRET_KEY="").start()
    key = subpay.data / "jwt.key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert subpay.pay(user).status == 202
    assert stat.S_IMODE((subpay.data / "subpay.db").stat().st_mode) == 0o600
    assert stat.S_IMODE((subpay.data / "control.sock").stat().st_mode) == 0o600


def test_a_secret_from_a_file(make_subpay, tmp_path, user):
    (tmp_path / "key").write_text("k" * 40 + "\n")
    subpay = make_subpay(JWT_SECRET_KEY="", JWT_SECRET_KEY_FILE=tmp_path / "key").start()
    assert subpay.pay(user).status == 202
    assert not (subpay.data / "jwt.key").exists()


def test_the_previous_key_still_verifies(make_subpay, user):
    subpay = make_subpay(JWT_SECRET_KEY_PREVIOUS="p" * 40).start()
    old = subpay.cli("token", "--user", user, JWT_SECRET_KEY="p" * 40, JWT_SECRET_KEY_PREVIOUS="").stdout.strip()
    assert subpay.request("GET", "/api/v1/payments/", token=old).status == 200


def test_dotenv_and_the_environment_wins(make_subpay):
    subpay = make_subpay()
    (subpay.folder / ".env").write_text("# settings\nBATCH_SIZE=77\nLOG_LEVEL='debug'\n")
    shown = subpay.cli("config", LOG_LEVEL="warn").stdout
    lines = {line.split()[0].split("=")[0]: line for line in shown.split("\n") if line.strip()}
    assert "77" in lines["BATCH_SIZE"] and ".env" in lines["BATCH_SIZE"]
    assert "warn" in lines["LOG_LEVEL"] and "environment" in lines["LOG_LEVEL"]
    assert subpay.SECRET not in shown


@pytest.mark.embedded
def test_migrate(make_subpay):
    subpay = make_subpay()
    empty = subpay.cli("migrate", "current")
    assert empty.stdout == "" and "no revision" in empty.stderr
    assert "this program needs 000" in subpay.cli("migrate", "check", check=1).stderr
    subpay.cli("migrate", "upgrade")
    assert "(head)" in subpay.cli("migrate", "current").stdout
    assert "0001_initial" in subpay.cli("migrate", "history").stdout
    subpay.start()
    assert "(head)" in subpay.cli("migrate", "current").stdout
    one_line(subpay.cli("migrate", "upgrade", check=1), str(subpay.process.pid))


def test_a_long_data_dir(make_subpay, tmp_path, user):
    """A folder longer than a socket's name may be."""
    deep = tmp_path / ("d" * 100) / ("e" * 100)
    subpay = make_subpay(DATA_DIR=str(deep)).start()
    subpay.data = deep
    assert subpay.pay(user).status == 202
    subpay.rest()
    subpay.cli("topic", "rewind", subpay.topic, "--beginning")


def test_it_rests_below_32_megabytes(subpay):
    status = open(f"/proc/{subpay.process.pid}/status").read()
    resident = int(status.split("VmRSS:")[1].split()[0])
    if "ASAN_OPTIONS" in os.environ:
        pytest.skip("a sanitized process is larger")
    assert resident < 32 * 1024, f"{resident} KiB"


def test_metrics_and_health(subpay, user):
    subpay.settled(user, subpay.pay(user).json["payment_id"])
    assert subpay.request("GET", "/health/ready").status == 200
    assert subpay.request("GET", "/health/ready", port=subpay.ops).status == 200
    metrics = subpay.request("GET", "/metrics", port=subpay.ops).body.decode()
    for name in ("subpay_http_requests_total", "subpay_payments_undecided",
                 "subpay_payments_undecided_oldest_seconds", "subpay_payments_needing_decision",
                 "subpay_queue_lag_records", "subpay_alarms_total"):
        assert f"# TYPE {name} " in metrics
    assert subpay.request("GET", "/metrics").status == 404
