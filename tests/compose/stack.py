"""What `docker compose up` does with compose.yaml, as processes of this machine: the same commands, environment, order and
health checks; a container's port is a free one of the loopback here, and nothing else is changed."""
import os
import re
import shlex
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

import distributed
import dockerfile
import kafka
import yaml
from children import die_with
from postgres import BIN as POSTGRES_BIN
from postgres import Cluster
from process import ROOT, until

OWN = "subpay:"


def env_file(path):
    pairs = (line.partition("=")[::2] for line in (ROOT / path).read_text().splitlines() if re.match(r"\w+=", line))
    return {name: value.strip('"') for name, value in pairs}


def seconds(text):
    return float(text.removesuffix("s"))


class Broker(kafka.Broker):
    """As the image of compose.yaml is configured: KAFKA_ONE_TWO is one.two. Sizes are this machine's."""

    def __init__(self, environment, port):  # pylint: disable=super-init-not-called
        self.libs, self.own_folder, self.heap, self.process = kafka.jars(), True, "256m", None
        self.folder = Path(tempfile.mkdtemp(prefix="subpay-kafka-"))
        self.port, self.bootstrap = port, f"127.0.0.1:{port}"
        lines = {name: value for name, value in kafka.SETTINGS.items() if name.startswith(("log.cleaner", "num."))}
        lines["log.dirs"] = self.folder / "log"
        for name, value in environment.items():
            if name.startswith("KAFKA_"):
                lines[name.removeprefix("KAFKA_").lower().replace("_", ".")] = value
        self.config = self.folder / "server.properties"
        self.config.write_text("".join(f"{name}={value}\n" for name, value in lines.items()))
        subprocess.run(self.tool("kafka-storage", "format", "-t", environment["CLUSTER_ID"], "-c", self.config), check=True,
                       stdout=subprocess.DEVNULL)
        self.start()


class Stack:
    def __init__(self, folder, binary, ports=None):
        self.folder, self.binary, self.ports = folder, binary, ports or {}
        self.file = yaml.safe_load((ROOT / "compose.yaml").read_text())
        self.services = self.file["services"]
        self.user, = dockerfile.stages()[-1].all("USER")
        self.running, self.servers, self.codes, self.order = {}, {}, {}, []
        self.bin = folder / "bin"
        self.bin.mkdir(parents=True)
        for name in ("kafka-topics", "kafka-console-producer", "kafka-console-consumer"):
            words = distributed.SharedBroker().tool(name)
            (self.bin / name).write_text(f"#!/bin/sh\nexec {shlex.join(words)} \"$@\"\n")
            (self.bin / name).chmod(0o755)

    # ---- the words of compose.yaml, here

    def port(self, number):
        """Of this machine, for one of a container. No two containers share one, so a number is enough."""
        if number not in self.ports:
            self.ports[number] = kafka.free_ports(1)[0]
        return self.ports[number]

    def published(self, number):
        """What is published under this number of the host's."""
        for service in self.services.values():
            for words in service.get("ports", ()):
                *_, host, container = words.split(":")
                if int(host) == number:
                    return self.port(int(container))
        raise KeyError(number)

    def here(self, text):
        text = str(text).replace(self.services["nginx"]["networks"]["default"]["ipv4_address"], "127.0.0.1")
        names = "|".join([*self.services, r"127\.0\.0\.1", r"0\.0\.0\.0"])
        return re.sub(rf"\b({names}):(\d+)\b", lambda match: f"127.0.0.1:{self.port(int(match[2]))}", text)

    def environment(self, name):
        """A .env beside the example is its owner's, and stays out of the tests."""
        service, wanted = self.services[name], {"PATH": f"{self.bin}:{POSTGRES_BIN}:{os.environ['PATH']}"}
        if service["image"].startswith(OWN):
            wanted["DATA_DIR"] = str(self.data(name))
        for one in service.get("env_file", ()):
            if one.get("required", True):
                wanted |= env_file(one["path"])
        wanted |= service.get("environment", {})
        for key, value in wanted.items():
            if value in self.services:
                wanted[key] = "127.0.0.1"
            elif re.fullmatch(r"(KAFKA|POSTGRES)_PORT", key):
                wanted[key] = str(self.port(int(value)))
            elif key != "PATH":
                wanted[key] = self.here(value)
        return wanted

    def data(self, name):
        """The volume at DATA_DIR: a named one, or the service's own."""
        volume = next((words.partition(":")[0] for words in self.services[name].get("volumes", ())), f"of-{name}")
        folder = self.folder / "volumes" / volume
        if not folder.exists():
            folder.mkdir(parents=True, mode=0o700)
            if os.geteuid() == 0:
                os.chown(folder, int(self.user), int(self.user))
        return folder

    # ---- processes

    def as_in_the_image(self):
        """Who runs it there, without any capability; where this is not root, it is nobody special anyway."""
        if os.geteuid() != 0:
            return []
        return ["setpriv", f"--reuid={self.user}", f"--regid={self.user}", "--clear-groups", "--bounding-set=-all",
                "--no-new-privs", "--pdeathsig=KILL"]

    def child(self, name, command, environment, folder):
        with open(self.folder / f"{name}.log", "ab") as log:
            return subprocess.Popen(command, env=environment, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                    preexec_fn=die_with(os.getpid()))

    def log(self, name):
        path = self.folder / f"{name}.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def run(self, name, **more):
        service, environment = self.services[name], {**self.environment(name), **more}
        self.order.append(name)
        if service["image"].startswith(OWN):
            self.running[name] = self.child(name, [*self.as_in_the_image(), self.binary, *service["command"]], environment,
                                            self.data(name))
        elif name == "nginx":
            self.running[name] = self.nginx()
        elif name == "postgres":
            self.servers[name] = self.postgres(environment)
        else:
            assert name == "broker", name
            self.servers[name] = Broker(environment, self.port(9092))

    def command(self, name, *words, **how):
        """`docker compose run --rm NAME WORDS`: a command with a service's environment."""
        return subprocess.run([*self.as_in_the_image(), self.binary, *words], env=self.environment(name),
                              cwd=self.data(name), capture_output=True, text=True, timeout=60, check=False, **how)

    def server_settings(self):
        """Of the command of the server: postgres -c NAME=VALUE -c NAME=VALUE."""
        program, *words = self.services["postgres"]["command"]
        assert program == "postgres" and set(words[::2]) == {"-c"} and len(words) % 2 == 0, words
        return dict(word.split("=", 1) for word in words[1::2])

    def postgres(self, environment):
        assert environment["POSTGRES_USER"] == "subpay"  # whom tests/postgres.py makes
        made = Cluster(database=environment["POSTGRES_DB"], **self.server_settings())
        made.sql(f"ALTER ROLE subpay PASSWORD '{environment['POSTGRES_PASSWORD']}'")
        self.ports[5432] = made.port
        return made

    def nginx(self, *more):
        """Its own configuration. more: servers beside it."""
        text = (ROOT / "deploy/nginx/nginx.conf").read_text()
        end = text.rindex("}")
        text = text[:end] + "\n".join(more) + text[end:]
        text = re.sub(r"listen (\d+)", lambda match: f"listen 127.0.0.1:{self.port(int(match[1]))}", self.here(text))
        text = text.replace("/tmp/nginx.pid", str(self.folder / "nginx.pid"))
        kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")  # where it was built for another distribution
        text = text.replace("http {", "http {" + "".join(f"{kind}_temp_path {self.folder}/{kind};" for kind in kinds), 1)
        (self.folder / "nginx.conf").write_text(text)
        return self.child("nginx", ["/usr/sbin/nginx", "-e", "stderr", "-c", self.folder / "nginx.conf", "-g",
                                    "daemon off;"], {"PATH": os.environ["PATH"]}, self.folder)

    # ---- order and health

    def up(self):
        for name in self.services:
            self.start(name)
        for name, service in self.services.items():
            if "healthcheck" in service:
                self.wait(name, "service_healthy")

    def start(self, name):
        if name in self.order:
            return
        for other, how in self.services[name].get("depends_on", {}).items():
            self.start(other)
            self.wait(other, how["condition"])
        self.run(name)

    def wait(self, name, condition):
        check = self.services[name].get("healthcheck")
        if condition == "service_healthy":
            limit = seconds(check["start_period"]) + check["retries"] * seconds(check["interval"])
            until(lambda: self.is_healthy(name), f"{name} is healthy: {self.log(name)[-1000:]}", limit)
            return
        assert condition == "service_completed_successfully", condition
        if name not in self.codes:
            self.codes[name] = self.running.pop(name).wait(60)
        assert self.codes[name] == 0, self.log(name)

    def is_healthy(self, name):
        """By its own command line."""
        one = self.running.get(name)
        assert one is None or one.poll() is None, f"{name} ended with {one.returncode}: {self.log(name)}"
        check = self.services[name]["healthcheck"]
        kind, *words = [self.here(word.replace("$$", "$")) for word in check["test"]]
        assert kind in ("CMD", "CMD-SHELL")
        if kind == "CMD-SHELL":
            words = ["/bin/sh", "-c", *words]
        environment = {**self.environment(name), "PGPORT": str(self.port(5432))}
        try:
            return subprocess.run(words, env=environment, capture_output=True, timeout=seconds(check["timeout"]),
                                  check=False).returncode == 0
        except subprocess.TimeoutExpired:
            return False

    def stop(self, name):
        """As `docker compose stop`: SIGTERM, and how it ended within its grace period."""
        one = self.running.pop(name)
        one.send_signal(signal.SIGTERM)
        return one.wait(seconds(self.services[name].get("stop_grace_period", "10s")))

    def close(self):
        for one in self.running.values():
            one.terminate()  # nginx killed would leave its workers behind
        for one in self.running.values():
            try:
                one.wait(15)
            except subprocess.TimeoutExpired:
                one.kill()
                one.wait()
        for server in self.servers.values():
            server.close()
        shutil.rmtree(self.folder, ignore_errors=True)
