"""PostgreSQL and Apache Kafka for the flows: SUBPAY_TEST_ENGINES=distributed, with SUBPAY_TEST_POSTGRES and
SUBPAY_TEST_KAFKA as tests/postgres.py and tests/kafka.py set them. Every Subpay gets a database and a topic of its own."""
import contextlib
import datetime
import decimal
import json
import os
import re
import socket
import struct
import subprocess
import uuid

import kafka

ON = os.environ.get("SUBPAY_TEST_ENGINES") == "distributed"
SERVER = os.environ.get("SUBPAY_TEST_POSTGRES", "")
BROKER = os.environ.get("SUBPAY_TEST_KAFKA", "")
TEMPLATE = "subpay_template"
templates = []  # servers that have it


def connect(url):
    import psycopg2.extras  # only where it is needed: the embedded engines want no package
    psycopg2.extras.register_uuid()
    connection = psycopg2.connect(url)
    connection.autocommit = True
    return connection


def plain(value):
    """As SQLite has it: ids, times and JSON are texts, numbers are numbers."""
    if isinstance(value, datetime.datetime):
        return value.astimezone(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    if isinstance(value, (bool, decimal.Decimal)):
        return int(value)
    if isinstance(value, (dict, list)):
        return json.dumps(value)
    return str(value) if isinstance(value, uuid.UUID) else value


class SharedBroker(kafka.Broker):
    """The one that tests/kafka.py started: for its tools."""

    def __init__(self):
        self.libs = kafka.jars()


def tool(name, *arguments, stdin=None):
    """What a tool of the distribution prints."""
    command = SharedBroker().tool(name, "--bootstrap-server", BROKER, *arguments)
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0 or "TimeoutException" in done.stderr, done
    return done.stdout


def next_offsets(topic, partitions, broker=BROKER):
    """Of the next record of each partition, as the broker says (ListOffsets request, version 1)."""
    name = topic.encode()
    request = struct.pack(">hhihiih", 2, 1, 1, -1, -1, 1, len(name)) + name + struct.pack(">i", partitions)
    request += b"".join(struct.pack(">iq", partition, -1) for partition in range(partitions))
    host, port = broker.split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(struct.pack(">i", len(request)) + request)
        size, = struct.unpack(">i", connection.recv(4, socket.MSG_WAITALL))
        answer = connection.recv(size, socket.MSG_WAITALL)[4 + 4 + 2 + len(name) + 4:]
    parts = [struct.unpack_from(">ihqq", answer, 22 * i) for i in range(partitions)]
    assert all(error == 0 for _, error, _, _ in parts), parts
    return {partition: offset for partition, _, _, offset in parts}


class Books:
    """A connection with the text and the ways of SQLite's: ? is a parameter."""

    def __init__(self, connection):
        self.cursor = connection.cursor()

    def execute(self, sql, parameters=()):
        self.cursor.execute(sql.replace("%", "%%").replace("?", "%s"), parameters)
        return self

    def fetchall(self):
        return [tuple(map(plain, row)) for row in self.cursor.fetchall()]


class Engines:
    """What one Subpay of the distributed engines needs. server, broker: others than those that all share."""

    def __init__(self, binary, partitions, server=None, broker=None):
        self.binary, self.partitions, self.server, self.broker = binary, partitions, server or SERVER, broker or BROKER
        name = uuid.uuid4().hex[:12]
        self.database, self.topic, self.made = f"subpay_{name}", f"payments-{name}", False
        self.environment = {"DATABASE_URL": self.url_of(self.database), "KAFKA_BROKERS": self.broker,
                            "TOPIC_PAYMENT": self.topic}

    def url_of(self, database):
        return re.sub(r"/[^/]*$", f"/{database}", self.server)

    def make(self, environment):
        """The tables and the topics: what an operator does before the services start."""
        self.make_database(environment)
        subprocess.run([self.binary, "topic", "create", self.topic, "--partitions", str(self.partitions)], check=True,
                       env=environment)
        self.made = True

    def make_database(self, environment):
        with contextlib.closing(connect(self.server)) as server, server.cursor() as cursor:
            if self.server not in templates:
                cursor.execute(f"DROP DATABASE IF EXISTS {TEMPLATE}")
                cursor.execute(f"CREATE DATABASE {TEMPLATE}")
                subprocess.run([self.binary, "migrate", "upgrade"], check=True, stdout=subprocess.DEVNULL,
                               env={**environment, "DATABASE_URL": self.url_of(TEMPLATE)})
                templates.append(self.server)
            cursor.execute(f"CREATE DATABASE {self.database} TEMPLATE {TEMPLATE}")

    @contextlib.contextmanager
    def books(self):
        with contextlib.closing(connect(self.url_of(self.database))) as connection:
            yield Books(connection)

    def rows(self, sql, *parameters):
        with self.books() as books:
            return books.execute(sql, parameters).fetchall()

    def is_read(self):
        """Has the saver taken all that is in the topic?"""
        read = dict(self.rows("SELECT partition, next FROM positions WHERE topic = ?", self.topic))
        return all(read.get(partition, 0) == offset
                   for partition, offset in next_offsets(self.topic, self.partitions, self.broker).items())
