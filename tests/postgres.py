#!/usr/bin/env python3
"""A private PostgreSQL cluster on a free port, with durable settings, and PgBouncer in front of it on demand.

    tests/postgres.py [--pooled] COMMAND...

runs COMMAND with SUBPAY_TEST_POSTGRES set to the URL of an empty database whose owner is a superuser (--pooled:
and SUBPAY_TEST_POSTGRES_POOLED, through transaction pooling), removes everything afterwards, and ends with the exit
code of COMMAND. As a module: class Cluster. PostgreSQL does not run as root: then it is the user postgres.
"""
import argparse
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from children import die_with, end_at_sigterm

RELEASES = sorted(Path("/usr/lib/postgresql").glob("*/bin"))  # 15 on Debian 12, 17 on Debian 13
BIN = Path(os.environ.get("SUBPAY_POSTGRES_BIN", RELEASES[0] if RELEASES else "/usr/lib/postgresql/15/bin"))
PASSWORD = "not-a-secret-of-anybody"
READY_S = 30
STOP_S = 60


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Cluster:
    """Started when made, removed by close() or at the end of a with block. The port stays over stop() and start()."""

    def __init__(self, database="subpay", **settings):
        self.database = database
        self.settings = {"fsync": "on", "full_page_writes": "on", "synchronous_commit": "on", "max_connections": "200",
                         "shared_buffers": "128MB", **{k: str(v) for k, v in settings.items()}}
        self.folder = Path(tempfile.mkdtemp(prefix="subpay-postgres-"))
        self.server = self.pooler = None
        self.port, self.pooled_port = free_port(), None
        try:
            self.user = {"user": "postgres", "group": "postgres", "extra_groups": []} if os.geteuid() == 0 else {}
            if self.user:
                shutil.chown(self.folder, "postgres", "postgres")
            self._init()
            self.start()
            self._command("createdb", "-h", self.folder, "-p", self.port, "-U", "subpay", database)
        except BaseException:
            self.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def url_of(self, database):
        return f"postgresql://subpay:{PASSWORD}@127.0.0.1:{self.port}/{database}"

    @property
    def url(self):
        return self.url_of(self.database)

    @property
    def pooled_url(self):
        """Starts PgBouncer when it is first asked for."""
        if not self.pooler:
            self._start_pooler()
        return f"postgresql://subpay:{PASSWORD}@127.0.0.1:{self.pooled_port}/{self.database}"

    def start(self):
        settings = [f"-c{name}={value}" for name, value in self.settings.items()]
        self.server = self._child("postgres.log", signal.SIGQUIT, BIN / "postgres", "-D", self.folder / "data",
                                  "-p", self.port, "-c", "listen_addresses=127.0.0.1",
                                  "-c", f"unix_socket_directories={self.folder}", *settings)
        self._await(self.server, self.port, "postgres.log")

    def stop(self, immediate=False):
        """immediate: as if the power went."""
        if self.server:
            self._end(self.server, signal.SIGQUIT if immediate else signal.SIGINT)
            self.server = None

    def restart(self, immediate=False):
        self.stop(immediate)
        self.start()

    def signal(self, number):
        """To the server and all its backends: SIGSTOP and SIGCONT make it one that does not answer."""
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                parent = int(stat.read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
            if self.server.pid in (parent, int(stat.parent.name)):
                os.kill(int(stat.parent.name), number)

    def stop_pooler(self):
        if self.pooler:
            self._end(self.pooler, signal.SIGTERM)
            self.pooler = None

    def sql(self, text, database=None):
        """What psql prints for it, unadorned; an error raises."""
        return self._command("psql", "-h", self.folder, "-p", self.port, "-U", "subpay", "-XqAt", "-v",
                             "ON_ERROR_STOP=1", "-c", text, database or self.database).strip()

    def close(self):
        self.stop_pooler()
        self.stop(immediate=True)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _init(self):
        secret = self._file("password", PASSWORD)
        self._command("initdb", "-D", self.folder / "data", "-U", "subpay", f"--pwfile={secret}", "--encoding=UTF8",
                      "--locale=C.UTF-8", "--auth-local=trust", "--auth-host=scram-sha-256", "--no-sync")

    def _start_pooler(self):
        self.pooled_port = self.pooled_port or free_port()
        users = self._file("users", f'"subpay" "{PASSWORD}"\n')
        settings = self._file("pgbouncer.ini", f"""[databases]
* = host={self.folder} port={self.port}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {self.pooled_port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = {users}
pool_mode = transaction
max_client_conn = 500
default_pool_size = 20
""")
        self.pooler = self._child("pgbouncer.log", signal.SIGTERM, "/usr/sbin/pgbouncer", settings)
        self._await(self.pooler, self.pooled_port, "pgbouncer.log")

    def _file(self, name, text):
        path = self.folder / name
        path.write_text(text)
        path.chmod(0o600)
        if self.user:
            shutil.chown(path, "postgres", "postgres")
        return path

    def _command(self, name, *arguments):
        done = subprocess.run([str(BIN / name), *map(str, arguments)], capture_output=True, text=True, cwd=self.folder,
                              check=False, **self.user)
        if done.returncode != 0:
            raise RuntimeError(f"{name} ended with {done.returncode}: {done.stderr.strip()}")
        return done.stdout

    def _child(self, log, ends_with, *command):
        with open(self.folder / log, "ab") as out:
            return subprocess.Popen(list(map(str, command)), stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                                    cwd=self.folder, start_new_session=True, preexec_fn=die_with(os.getpid(), ends_with),
                                    **self.user)

    def _await(self, child, port, log):
        deadline = time.monotonic() + READY_S
        while subprocess.run([BIN / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(port)], check=False).returncode:
            if child.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{log}: not ready\n{(self.folder / log).read_text()[-2000:]}")
            time.sleep(0.02)

    def _end(self, child, number):
        if child.poll() is None:
            child.send_signal(number)
        try:
            child.wait(STOP_S)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--pooled", action="store_true")
    arguments.add_argument("command", nargs=argparse.REMAINDER, metavar="COMMAND")
    asked = arguments.parse_args()
    if not asked.command:
        arguments.error("no COMMAND")
    end_at_sigterm()
    with Cluster() as cluster:
        environment = {**os.environ, "SUBPAY_TEST_POSTGRES": cluster.url}
        if asked.pooled:
            environment["SUBPAY_TEST_POSTGRES_POOLED"] = cluster.pooled_url
        return subprocess.run(asked.command, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
