"""`docker compose up` without Docker: compose.yaml against its specification, the Dockerfile against Debian, and everything
that the file says run as processes, from the empty volume to SIGTERM. It brings its own PostgreSQL, Kafka and nginx."""
import contextlib
import copy
import http.client
import ipaddress
import json
import re
import shutil
import subprocess
import tempfile
import time
import uuid
from pathlib import Path

import dockerfile
import jsonschema
import pytest
import yaml
from process import ROOT, Answer, until
from stack import OWN, Stack, env_file

SCHEMA = json.loads((Path(__file__).parent / "schema/compose-spec.json").read_text())
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())
OURS = {name: one for name, one in COMPOSE["services"].items() if one["image"].startswith(OWN)}
SERVICES = ("subscription-app", "saver", "processor", "processing", "notifier")
# The three commands of the original description, word for word.
LIST = "kafka-topics --bootstrap-server broker:9092 --list"
PRODUCE = "kafka-console-producer --bootstrap-server broker:9092 --topic payments"
CONSUME = "kafka-console-consumer --bootstrap-server broker:9092 --topic payments --from-beginning"


# ---- what the files say


def broken(compose):
    return [error.message for error in jsonschema.Draft7Validator(SCHEMA).iter_errors(compose)]


def test_the_schema():
    jsonschema.Draft7Validator.check_schema(SCHEMA)
    assert broken(COMPOSE) == []
    for service, key, value in (("saver", "comand", []), ("migrate", "restart", 1), ("nginx", "ports", "80:80"),
                                ("processor", "depends_on", {"migrate": {"condition": "service_ready"}})):
        wrong = copy.deepcopy(COMPOSE)
        wrong["services"][service][key] = value
        assert broken(wrong), (service, key)


def test_the_order():
    made = {"migrate": "service_completed_successfully", "topics": "service_completed_successfully"}
    wanted = {"migrate": {"postgres": "service_healthy"}, "topics": {"broker": "service_healthy"},
              "subscription-app": made, "saver": made, "notifier": made,
              "processor": {**made, "processing": "service_healthy"}, "nginx": {"subscription-app": "service_healthy"}}
    said = {name: {other: how["condition"] for other, how in one["depends_on"].items()}
            for name, one in COMPOSE["services"].items() if "depends_on" in one}
    assert said == wanted
    assert set(SERVICES) < set(OURS)
    healthy = {name for name, one in COMPOSE["services"].items() if "healthcheck" in one}
    assert healthy == {*COMPOSE["services"]} - {"migrate", "topics"}
    assert "sleep" not in (ROOT / "compose.yaml").read_text()


def test_the_table_names_tests_that_exist():
    """README: each line of the original description and what shows it."""
    readme = (ROOT / "README.md").read_text()
    named = re.findall(r"(test_\w+)(?:\]\([^)]*\))?`::(test_\w+)`", readme)
    assert len(named) > 15
    for file, test in named:
        path = next((ROOT / "tests").glob(f"*/{file}.py"))
        assert f"def {test}(" in path.read_text(), f"{file}::{test}"
    for link in re.findall(r"\]\(([^)#:]+)\)", readme):
        assert (ROOT / link).exists(), link


def test_what_is_published():
    ports = {name: one["ports"] for name, one in COMPOSE["services"].items() if "ports" in one}
    assert ports == {"subscription-app": ["127.0.0.1:8101:8101"], "processing": ["127.0.0.1:5001:5001"], "nginx": ["80:80"]}


def test_ours_are_not_root_and_write_nowhere_else():
    for name, one in OURS.items():
        assert one["read_only"] and one["cap_drop"] == ["ALL"] and "no-new-privileges:true" in one["security_opt"], name
        assert "privileged" not in one and "user" not in one, name


def test_the_settings():
    """Each example is somebody's, knows only what there is, and says the same as the others."""
    named = {file["path"] for one in COMPOSE["services"].values() for file in one.get("env_file", ())}
    examples = {str(path.relative_to(ROOT)) for path in (ROOT / "deploy/env").glob("*/.env.example")}
    assert named == examples | {path.removesuffix(".example") for path in examples}
    known = re.findall(r"^\| `(\w+)`.*?\|", (ROOT / "docs/configuration.md").read_text(), re.M) + ["TOPIC"]
    values = {}
    for path in examples:
        for name, value in env_file(path).items():
            assert name in known, f"{path}: {name}"
            if name != "OPS_LISTEN":
                assert values.setdefault(name, value) == value, f"{path}: {name}"


def test_only_nginx_is_believed():
    network = COMPOSE["networks"]["default"]["ipam"]["config"][0]
    nginx = COMPOSE["services"]["nginx"]["networks"]["default"]["ipv4_address"]
    assert env_file("deploy/env/subscription_app/.env.example")["TRUSTED_PROXIES"] == nginx
    subnet, given = ipaddress.ip_network(network["subnet"]), ipaddress.ip_network(network["ip_range"])
    assert given.subnet_of(subnet)
    for address in map(ipaddress.ip_address, (nginx, network["gateway"])):
        assert address in subnet and address not in given
    assert nginx != network["gateway"]


def test_the_stages():
    stages = dockerfile.stages()
    last = stages[-1]
    used = {word.removeprefix("--from=") for stage in stages for copied in stage.all("COPY") for word in copied.split()
            if word.startswith("--from=")}
    assert {stage.name for stage in stages[:-1]} == used
    assert all(stage.image.startswith("debian:bookworm") for stage in stages)
    user, = last.all("USER")
    assert user not in ("root", "0") and f"--uid {user} " in last.all("RUN")[0]
    before = [step for step in last.steps if step[0] in ("RUN", "COPY")]
    assert last.steps.index(("USER", user)) > max(map(last.steps.index, before))
    data = last.all("ENV")[0].removeprefix("DATA_DIR=")
    assert last.all("VOLUME") == [data] and f"-o subpay -g subpay -m 0700 {data}" in last.all("RUN")[0]
    volumes = {words.rpartition(":")[2] for one in OURS.values() for words in one.get("volumes", ())}
    assert volumes == {data}
    entry, = json.loads(last.all("ENTRYPOINT")[0])
    assert last.all("COPY")[0].endswith(" " + entry)


def needed(package, seen):
    """With everything that Debian installs with it."""
    if package in seen:
        return
    done = subprocess.run(["dpkg-query", "-W", "-f", "${Depends},${Pre-Depends}", package], capture_output=True, text=True,
                          check=False)
    if done.returncode == 0:
        seen.add(package)
        for one in re.split(r"[,|]", done.stdout):
            if one.strip():
                needed(re.split(r"[\s:(]", one.strip())[0], seen)


def test_the_packages(built):
    """There is each in Debian, and what the program is linked with comes with those of the last stage."""
    for stage in dockerfile.stages():
        assert stage.packages
        for name in stage.packages:
            done = subprocess.run(["apt-cache", "show", name], capture_output=True, text=True, check=False)
            assert f"Package: {name}\n" in done.stdout, name
    there = set()
    for name in dockerfile.stages()[-1].packages:
        needed(name, there)
    libraries = re.findall(r"^\s*(\S+) => ", subprocess.run(["ldd", built], capture_output=True, text=True,
                                                            check=True).stdout, re.M)
    assert len(libraries) > 10
    for library in libraries:
        owners = subprocess.run(["dpkg-query", "-S", f"*/{library}"], capture_output=True, text=True, check=True).stdout
        assert {line.split(":")[0] for line in owners.splitlines()} & there, f"{library}: {owners}"
    for one in OURS.values():
        if "healthcheck" in one:
            assert one["healthcheck"]["test"][1] in dockerfile.stages()[-1].packages


def test_the_image():
    """What only Docker shows; where it works, it shows that the image builds and that compose takes the file."""
    commands = [["docker", "info"], ["docker", "compose", "config", "--quiet"]]
    if not shutil.which("docker") or any(subprocess.run(command, cwd=ROOT, capture_output=True, check=False).returncode
                                         for command in commands):
        pytest.skip("Docker does not work here. Not shown: that it builds the image (the lines that build are run here) and "
                    "takes the file, the images of PostgreSQL, Kafka and nginx (those of Debian and Maven Central are run "
                    "here), and what containers keep apart: the network, the read-only root")
    subprocess.run(["docker", "compose", "build"], cwd=ROOT, check=True)


# ---- as processes


@pytest.fixture(scope="module")
def folder():
    made = Path(tempfile.mkdtemp(prefix="subpay-compose-"))
    made.chmod(0o755)  # the user of the image looks into it
    yield made
    shutil.rmtree(made)


@pytest.fixture(scope="module")
def built(folder):
    """By the lines of the Dockerfile."""
    return dockerfile.build(folder)


@pytest.fixture(scope="module")
def stack(folder, built):
    with contextlib.closing(Stack(folder / "stack", built)) as made:
        made.up()
        yield made


def ask(stack, port, method, path, source="127.0.0.1", body=None, **headers):
    """From an address of its own: nginx counts by address."""
    connection = http.client.HTTPConnection("127.0.0.1", stack.published(port), timeout=40, source_address=(source, 0))
    with contextlib.closing(connection):
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body=body, headers=headers)
        answer = connection.getresponse()
        return Answer(answer.status, answer.headers, answer.read())


def bearer(stack, user):
    done = stack.command("subscription-app", "token", "--user", user)
    assert done.returncode == 0, done.stderr
    return "Bearer " + done.stdout.strip()


def settled(stack, token, payment_id):
    def look():
        payment = ask(stack, 80, "GET", f"/api/v1/payments/{payment_id}?wait=5", Authorization=token)
        assert payment.status in (200, 404), payment
        return payment.status == 200 and payment.json["processing_status"] == "completed" and payment.json
    return until(look, f"{payment_id} is completed")


def test_it_is_up(stack):
    for name, one in COMPOSE["services"].items():
        for other in one.get("depends_on", ()):
            assert stack.order.index(other) < stack.order.index(name)
    assert set(stack.running) == {*SERVICES, "nginx"} and stack.codes == {"migrate": 0, "topics": 0}
    for name in SERVICES:
        assert "subpay is ready" in stack.log(name)
        with open(f"/proc/{stack.running[name].pid}/status", encoding="ascii") as lines:
            said = dict(line.rstrip("\n").split(":\t", 1) for line in lines)
        assert said["Uid"].split()[0] != "0" and int(said["CapEff"], 16) == 0, name


def test_the_settings_of_the_server(stack):
    """The ones of the command, and no others are in docs/scaling.md."""
    wanted = {"shared_buffers": "512MB", "max_wal_size": "4GB", "checkpoint_timeout": "30min"}
    assert {name: stack.servers["postgres"].sql(f"SHOW {name}") for name in wanted} == wanted
    text = (ROOT / "docs/scaling.md").read_text().partition("\n## Settings of the server\n")[2]
    assert dict(re.findall(r"`(\w+)=(\w+)`", text)) == wanted


def test_a_user_pays(stack):
    user = "5f0c1f0e-3a53-4d5c-9a8e-2f6b5f3f7c11"  # with this key the simulator accepts
    token, path = bearer(stack, user), "/api/v1/payments/?payment_type=payment&subscription_type=month"
    taken = ask(stack, 80, "POST", path, Authorization=token, Idempotency_Key="compose")
    assert taken.status == 202 and taken.json["amount"] == 39900, taken
    assert taken.headers["Location"].endswith(taken.json["payment_id"])
    payment = settled(stack, token, taken.json["payment_id"])
    assert payment["payment_status"] == "accepted", payment
    assert len(ask(stack, 80, "GET", "/api/v1/subscriptions/", Authorization=token).json["items"]) == 1
    assert ask(stack, 80, "POST", path, Authorization=token).status == 409
    mail = stack.data("notifier") / "mail" / f"{payment['payment_id']}.eml"
    assert "From: noreply@example.org" in mail.read_text().replace("<", "").replace(">", "")
    answer = ask(stack, 5001, "GET", f"/transactions/{payment['payment_id']}")
    assert answer.status == 200 and answer.json["result"] == "success"


def test_the_two_addresses(stack):
    """Of the original description: 127.0.0.1:8101/api/openapi and 127.0.0.1:5001/execute_transaction."""
    page = ask(stack, 8101, "GET", "/api/openapi")
    assert page.status == 200 and page.headers["Content-Type"].startswith("text/html")
    assert ask(stack, 8101, "GET", "/api/openapi.json").json["info"]["title"] == "Subscription API"
    answer = ask(stack, 5001, "GET", "/execute_transaction")
    assert (answer.status, answer.body.decode().strip()) in ((200, "success!"), (404, "error!")), answer


def test_request_ids(stack):
    ids = [ask(stack, 80, "GET", path, X_Request_ID="mine").headers.get_all("X-Request-ID")
           for path in ("/health/live", "/nowhere", "/api/v1/prices/")]
    assert all(len(one) == 1 and re.fullmatch("[0-9a-f]{32}", one[0]) for one in ids) and len({one[0] for one in ids}) == 3
    until(lambda: all(one[0] in stack.log("nginx") for one in ids), "they are in the log")


def test_a_body_over_the_limit(stack):
    token, path = bearer(stack, str(uuid.uuid4())), "/api/v1/payments/"

    def post(size):
        body = json.dumps({"payment_type": "refund", "subscription_type": "year"})
        return ask(stack, 80, "POST", path, body=body.ljust(size), Authorization=token, Content_Type="application/json")
    assert post(16384).status == 202
    larger = post(16385)
    assert larger.status == 413 and b"nginx" in larger.body, "it does not come to the API"


def test_a_burst(stack):
    """Whatever a client says whom it asks for."""
    begun = time.monotonic()
    answers = [ask(stack, 80, "GET", "/health/live", "127.0.0.9", X_Forwarded_For=f"10.0.0.{i}") for i in range(200)]
    let_in = 1 + 40 + 20 * (time.monotonic() - begun)
    statuses = [answer.status for answer in answers]
    assert statuses[:40] == [200] * 40 and 429 in statuses and statuses.count(200) <= let_in + 1, statuses
    limited = answers[statuses.index(429)]
    assert limited.headers["Retry-After"] == "1" and limited.headers["Content-Type"] == "application/problem+json"
    assert limited.json["status"] == 429 and limited.headers["X-Request-ID"]
    assert ask(stack, 80, "GET", "/health/live", "127.0.0.10").status == 200, "the limit is of one address"


@pytest.fixture
def beside(stack, folder):
    """A second front with services of its own, on the same engines."""
    ports = {number: port for number, port in stack.ports.items() if number not in (80, 8101, 9101)}
    with contextlib.closing(Stack(folder / "beside", stack.binary, ports)) as made:
        yield made


def test_a_clients_forwarded_address_is_not_believed(beside):
    """Neither by nginx, nor by the API when somebody comes past nginx."""
    beside.run("subscription-app", RATE_LIMIT_ADDRESS="1:3")
    beside.wait("subscription-app", "service_healthy")
    beside.run("nginx")
    until(lambda: ask_or_none(beside, 80, "127.0.0.20"), "nginx is there")
    for port, source in ((80, "127.0.0.21"), (80, "127.0.0.22"), (8101, "127.0.0.23")):
        statuses = [ask(beside, port, "GET", "/api/v1/prices/", source, X_Forwarded_For=f"10.0.0.{i}").status
                    for i in range(10)]
        assert statuses[0] == 401 and 429 in statuses, f"{port} {source}: {statuses}"


def ask_or_none(stack, port, source="127.0.0.1"):
    try:
        return ask(stack, port, "GET", "/health/live", source)
    except OSError:
        return None


def test_the_api_is_away(beside):
    beside.run("nginx")
    answer = until(lambda: ask_or_none(beside, 80), "nginx is there")
    assert answer.status == 503 and answer.json["status"] == 503 and answer.headers["Retry-After"] == "2", answer
    assert answer.headers["Content-Type"] == "application/problem+json"


def test_tls(stack, beside):
    """The example beside the server of nginx.conf."""
    key, chain = beside.folder / "privkey.pem", beside.folder / "fullchain.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                    "-subj", "/CN=pay.example.org", "-addext", "subjectAltName=DNS:pay.example.org", "-keyout", key,
                    "-out", chain], check=True, capture_output=True)
    example = (ROOT / "deploy/nginx/tls.conf.example").read_text()
    beside.ports |= {8101: stack.port(8101), 443: beside.port(443)}
    beside.running["nginx"] = beside.nginx(re.sub(r"/etc/nginx/tls/", f"{beside.folder}/", example))
    until(lambda: ask_or_none(beside, 80), f"nginx is there: {beside.log('nginx')}")
    port = beside.port(443)
    done = subprocess.run(["curl", "-sSi", "--cacert", chain, "--resolve", f"pay.example.org:{port}:127.0.0.1",
                           f"https://pay.example.org:{port}/health/ready"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("HTTP/2 200") and "strict-transport-security: max-age=" in done.stdout.lower(), done.stdout


def in_broker(stack, command, **how):
    """`docker compose exec broker COMMAND`"""
    return subprocess.run(["/bin/sh", "-c", stack.here(command)], env=stack.environment("broker"), capture_output=True,
                          text=True, timeout=60, check=False, **how)


def test_the_three_commands_of_kafka(stack):
    for command in (LIST, PRODUCE, CONSUME):
        assert command in (ROOT / "README.md").read_text(), "the table names it"
    listed = in_broker(stack, LIST)
    assert {"payments", "payments.rejected"} <= set(listed.stdout.split()), listed
    user, value = str(uuid.uuid4()), {"payment_type": "payment", "subscription_type": "year"}
    line = json.dumps({"user_id": user, **value})
    done = in_broker(stack, PRODUCE, input=line + "\n")  # and Ctrl-D
    assert done.returncode == 0, done
    token = bearer(stack, user)
    stored = until(lambda: ask(stack, 80, "GET", "/api/v1/payments/", Authorization=token).json["items"], "it is stored")
    assert {name: stored[0][name] for name in value} == value
    settled(stack, token, stored[0]["payment_id"])
    reader = stack.child("consumer", ["/bin/sh", "-c", "exec " + stack.here(CONSUME)], stack.environment("broker"),
                         stack.folder)
    until(lambda: line in stack.log("consumer"), "it is read")  # it follows for ever
    reader.terminate()
    reader.wait(20)


def test_up_again(stack):
    """What is made is not made twice."""
    for name in ("migrate", "topics"):
        done = stack.command(name, *COMPOSE["services"][name]["command"])
        assert done.returncode == 0, done


def test_the_books(stack):
    done = stack.command("processor", "audit")
    assert done.returncode == 0 and "I1 ok" in done.stdout, done


def test_down(stack):
    codes = {name: stack.stop(name) for name in reversed(stack.order) if name in stack.running}
    assert codes == {name: 0 for name in (*SERVICES, "nginx")}
