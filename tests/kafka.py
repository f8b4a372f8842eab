#!/usr/bin/env python3
"""A real Apache Kafka for the tests: one broker in KRaft mode, a child that dies with its parent, on a free port, in a
private folder.

    tests/kafka.py COMMAND...    runs COMMAND with SUBPAY_TEST_KAFKA=host:port, ends with its exit code

The jars come from Maven Central by `mvn`, once, into ~/.cache/subpay. SUBPAY_KAFKA_VERSION chooses another broker (the
newest complete set of jars is 4.3.1). COMMAND may steer the broker through the socket SUBPAY_TEST_KAFKA_CONTROL: it
sends `kill`, `stop`, `start`, `pause` or `resume` and a newline, and gets `ok` or what went wrong.
"""
import contextlib
import fcntl
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from children import die_with, end_at_sigterm

VERSION = os.environ.get("SUBPAY_KAFKA_VERSION", "3.9.1")
CACHE = Path(os.environ.get("SUBPAY_CACHE", Path.home() / ".cache" / "subpay"))
CLUSTER_ID = "c3VicGF5LXRlc3QtMDAwMQ"
READY_S = 60
DEPENDENCY = """  <dependency><groupId>{}</groupId><artifactId>{}</artifactId><version>{}</version>{}</dependency>
"""
NOTHING_ELSE = "<exclusions><exclusion><groupId>*</groupId><artifactId>*</artifactId></exclusion></exclusions>"
POM = """<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion><groupId>subpay</groupId><artifactId>test-broker</artifactId><version>1</version>
  <dependencies>
{}  </dependencies>
</project>
"""
# The tools of the distribution, by the names of its scripts.
TOOLS = {"kafka-topics": "org.apache.kafka.tools.TopicCommand",
         "kafka-console-producer": "kafka.tools.ConsoleProducer" if VERSION < "4"
                                   else "org.apache.kafka.tools.ConsoleProducer",
         "kafka-console-consumer": "org.apache.kafka.tools.consumer.ConsoleConsumer",
         "kafka-configs": "kafka.admin.ConfigCommand",
         "kafka-storage": "kafka.tools.StorageTool"}
# Kafka 4 prints a warning among the records for --property, its only name before.
PROPERTY = {"kafka-console-producer": "--property" if VERSION < "4" else "--reader-property",
            "kafka-console-consumer": "--property" if VERSION < "4" else "--formatter-property"}
# Of the secured listener.
USER, PASSWORD, MECHANISMS = "subpay", "password-of-the-tests", ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
SETTINGS = {
    "process.roles": "broker,controller", "node.id": "1", "auto.create.topics.enable": "false",
    "inter.broker.listener.name": "CLIENT", "controller.listener.names": "CONTROLLER",
    "listener.security.protocol.map": "CLIENT:PLAINTEXT,CONTROLLER:PLAINTEXT,SECURED:SASL_SSL",
    "offsets.topic.replication.factor": "1", "offsets.topic.num.partitions": "1",
    "transaction.state.log.replication.factor": "1", "transaction.state.log.min.isr": "1",
    "transaction.state.log.num.partitions": "1", "group.initial.rebalance.delay.ms": "0",
    "log.cleaner.dedupe.buffer.size": "2097152", "log.cleaner.threads": "1", "num.network.threads": "1",
    "num.io.threads": "2",
    # A killed broker may come back under its name when its session is over.
    "broker.session.timeout.ms": "2000", "broker.heartbeat.interval.ms": "500",
}


def jars(version=VERSION):
    """The folder of the jars; brings them when they are not there."""
    libs = CACHE / f"kafka-{version}"
    CACHE.mkdir(parents=True, exist_ok=True)
    with open(CACHE / "lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if libs.is_dir():
            return libs
        with tempfile.TemporaryDirectory(dir=CACHE) as folder:
            kafka = "org.apache.kafka"
            wanted = [(kafka, "kafka_2.13", version, ""), (kafka, "kafka-tools", version, NOTHING_ELSE),
                      (kafka, "kafka-tools-api", version, ""), ("org.slf4j", "slf4j-nop", "1.7.36", "")]
            (Path(folder) / "pom.xml").write_text(POM.format("".join(DEPENDENCY.format(*one) for one in wanted)))
            subprocess.run(["mvn", "-q", "-B", "-Dstyle.color=never", "dependency:copy-dependencies", "-DoutputDirectory=libs",
                            "-DincludeScope=runtime"], cwd=folder, check=True, stdout=sys.stderr)
            os.rename(Path(folder) / "libs", libs)
    return libs


def free_ports(count):
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def make_certificates(folder, address="127.0.0.1"):
    """ca.pem, and broker.pem: a key and its certificate for `address`, signed by that CA."""
    def openssl(*more):
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                        "-days", "2", *more], cwd=folder, check=True, stderr=subprocess.PIPE)
    openssl("-subj", "/CN=CA of the tests", "-addext", "keyUsage=critical,keyCertSign", "-keyout", "ca.key", "-out", "ca.pem")
    openssl("-subj", f"/CN={address}", "-addext", f"subjectAltName=IP:{address}", "-addext",
            "basicConstraints=critical,CA:FALSE", "-CA", "ca.pem", "-CAkey", "ca.key", "-keyout", "broker.key", "-out",
            "broker.crt")
    (folder / "broker.pem").write_text((folder / "broker.key").read_text() + (folder / "broker.crt").read_text())


def secured_settings(folder):
    """Of the listener SECURED: TLS, and logins of one user by each of the mechanisms."""
    login, listener = "org.apache.kafka.common.security", "listener.name.secured"
    return {f"{listener}.ssl.keystore.type": "PEM", f"{listener}.ssl.keystore.location": folder / "broker.pem",
            f"{listener}.sasl.enabled.mechanisms": ",".join(MECHANISMS),
            f"{listener}.plain.sasl.jaas.config": f'{login}.plain.PlainLoginModule required user_{USER}="{PASSWORD}";',
            **{f"{listener}.{name.lower()}.sasl.jaas.config": f"{login}.scram.ScramLoginModule required;"
               for name in MECHANISMS[1:]}}


class Broker:
    """Started when made; `with` ends it. The log survives stop(kill=True) and start(), the port stays the same.
    secured: it listens at self.secured, too, with TLS and logins; self.folder has ca.pem."""

    def __init__(self, folder=None, version=VERSION, heap="256m", secured=False, **settings):
        self.libs = jars(version)
        self.own_folder = folder is None
        self.folder = Path(folder or tempfile.mkdtemp(prefix="subpay-kafka-"))
        self.heap, self.process = heap, None
        self.port, controller, secured_port = free_ports(3)
        self.bootstrap, self.secured = f"127.0.0.1:{self.port}", f"127.0.0.1:{secured_port}"
        if secured:
            make_certificates(self.folder)
        lines = {**SETTINGS, **(secured_settings(self.folder) if secured else {}), "log.dirs": self.folder / "log",
                 "controller.quorum.voters": f"1@127.0.0.1:{controller}",
                 "listeners": f"CLIENT://127.0.0.1:{self.port},CONTROLLER://127.0.0.1:{controller}"
                              + (f",SECURED://{self.secured}" if secured else ""),
                 **{name.replace("_", "."): value for name, value in settings.items()}}
        self.config = self.folder / "server.properties"
        self.config.write_text("".join(f"{name}={value}\n" for name, value in lines.items()))
        try:
            scram = [f"--add-scram={name}=[name={USER},password={PASSWORD}]" for name in MECHANISMS[1:] if secured]
            subprocess.run(self.tool("kafka-storage", "format", "-t", CLUSTER_ID, "-c", self.config, *scram), check=True,
                           stdout=subprocess.DEVNULL)
            self.start()
        except BaseException:
            self.close()
            raise

    def java(self, main, *arguments, heap="96m"):
        return ["java", f"-Xmx{heap}", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", f"{self.libs}/*", main,
                *map(str, arguments)]

    def tool(self, name, *arguments):
        """The command line of a tool of the distribution, such as kafka-topics."""
        return self.java(TOOLS[name], *(PROPERTY[name] if one == "--property" else one for one in arguments))

    def start(self):
        assert self.process is None
        with open(self.folder / "broker.log", "ab") as log:
            self.process = subprocess.Popen(self.java("kafka.Kafka", self.config, heap=self.heap), stdout=log,
                                            stderr=log, stdin=subprocess.DEVNULL, start_new_session=True,
                                            preexec_fn=die_with(os.getpid()))
        deadline = time.monotonic() + READY_S
        while not self.answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                said = (self.folder / "broker.log").read_text(errors="replace")[-2000:]
                raise RuntimeError(f"the broker did not start: {said}")
            time.sleep(0.05)

    def answers(self):
        """Does it list itself as alive? (Metadata request, version 1, no topics)"""
        request = struct.pack(">hhihi", 3, 1, 1, -1, 0)
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=2) as connection:
                connection.sendall(struct.pack(">i", len(request)) + request)
                answer = connection.recv(12, socket.MSG_WAITALL)
        except OSError:
            return False
        return len(answer) == 12 and struct.unpack(">iii", answer)[2] > 0

    def stop(self, kill=False):
        process, self.process = self.process, None
        if process is None:
            return
        process.send_signal(signal.SIGCONT)
        process.send_signal(signal.SIGKILL if kill else signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def restart(self, kill=True):
        self.stop(kill)
        self.start()

    def pause(self):
        """Returns when every thread stands still."""
        self.process.send_signal(signal.SIGSTOP)
        tasks = Path(f"/proc/{self.process.pid}/task")
        while any(stat.read_text().rpartition(")")[2].split()[0] != "T" for stat in tasks.glob("*/stat")):
            time.sleep(0.002)

    def resume(self):
        self.process.send_signal(signal.SIGCONT)

    def close(self):
        self.stop(kill=True)
        if self.own_folder:
            shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def steer(broker, listener):
    """Serves one connection after the other; the thread lives as long as the process, and the broker with it."""
    verbs = {"kill": lambda: broker.stop(kill=True), "stop": broker.stop, "start": broker.start,
             "pause": broker.pause, "resume": broker.resume}
    while True:
        connection, _ = listener.accept()
        with connection, connection.makefile("rw") as lines:
            for line in lines:
                try:
                    verbs[line.strip()]()
                    lines.write("ok\n")
                except Exception as error:  # pylint: disable=broad-except
                    lines.write(f"{error!r}\n")
                lines.flush()


def main():
    if len(sys.argv) < 2:
        print(__doc__.strip(), file=sys.stderr)
        return 2
    end_at_sigterm()
    with Broker() as broker, socket.socket(socket.AF_UNIX) as listener:
        control = str(broker.folder / "control")
        listener.bind(control)
        listener.listen()
        threading.Thread(target=steer, args=(broker, listener), daemon=True).start()
        environment = {**os.environ, "SUBPAY_TEST_KAFKA": broker.bootstrap, "SUBPAY_TEST_KAFKA_CONTROL": control}
        return subprocess.run(sys.argv[1:], env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
