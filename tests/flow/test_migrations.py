"""`subpay migrate` as an operator types it, on both engines: from nothing to tables, two at once, exit codes."""
import os
import shutil
import subprocess

import pytest
from postgres import Cluster
from process import BINARY, ROOT

pytestmark = pytest.mark.embedded  # both stores, each on its own: nothing is left for the distributed engines


@pytest.fixture(scope="module")
def cluster():
    with Cluster() as made:
        yield made


@pytest.fixture(params=["sqlite", "postgres"])
def migrate(request, tmp_path):
    """Runs a command in an empty folder on an empty database, and checks its exit code."""
    environment = {"PATH": os.environ["PATH"], "DATA_DIR": str(tmp_path / "data")}
    if request.param == "postgres":
        cluster = request.getfixturevalue("cluster")
        name = "flow_" + os.urandom(6).hex()
        cluster.sql(f"CREATE DATABASE {name}")
        environment["DATABASE_URL"] = cluster.url_of(name)

    def run(*words, check=0, **more):
        done = subprocess.run([BINARY, "migrate", *words], cwd=tmp_path, env={**environment, **more}, text=True,
                              capture_output=True, stdin=subprocess.DEVNULL, timeout=60, check=False)
        assert done.returncode == check, f"migrate {words}: {done}"
        return done.stdout

    run.engine, run.environment, run.folder = request.param, environment, tmp_path
    return run


def test_from_nothing_to_tables(migrate):
    (migrate.folder / "migrations").mkdir()
    migrate.environment["MIGRATIONS_DIR"] = "migrations"
    paths = migrate("revision", "-m", "initial").split()
    assert paths == ["migrations/0001_initial.up.sql", "migrations/0001_initial.down.sql"]
    assert migrate("upgrade", "head") == "upgraded to 0001_initial\n"
    assert "missing table payments\n" in migrate("check", check=1)
    paths = migrate("revision", "--autogenerate", "-m", "create_tables").split()
    assert paths == ["migrations/0002_create_tables.up.sql", "migrations/0002_create_tables.down.sql"]
    assert "CREATE TABLE payments" in (migrate.folder / paths[0]).read_text()
    assert migrate("upgrade", "head") == "upgraded to 0002_create_tables\n"
    assert migrate("check") == ""
    assert migrate("revision", "--autogenerate", "-m", "again") == ""
    assert len(list((migrate.folder / "migrations").iterdir())) == 4
    del migrate.environment["MIGRATIONS_DIR"]
    assert migrate("check") == ""  # the program's own list finds what it needs
    assert migrate("upgrade") == ""


def test_the_programs_own(migrate):
    migrate("check", check=1)
    assert "upgraded to 0001_initial\n" in migrate("upgrade", "head")
    assert migrate("check") == ""
    assert "(head)" in migrate("current")
    migrate("downgrade", "base", check=1)
    migrate("upgrade", "nobody", check=2)
    migrate("revision", "-m", "x", check=2)  # no MIGRATIONS_DIR, and no checkout
    migrate("downgrade", "base", "--destroy-data")
    assert migrate("current") == ""


def test_in_a_checkout(migrate):
    shutil.copy(ROOT / "meson.build", migrate.folder)
    shutil.copytree(ROOT / "src/ledger/migrations", migrate.folder / "src/ledger/migrations")
    assert migrate("upgrade", "head") != ""
    assert migrate("revision", "--autogenerate", "-m", "nothing") == ""
    paths = migrate("revision", "-m", "more").split()
    assert [path.rpartition("/")[0] for path in paths] == [f"src/ledger/migrations/{migrate.engine}"] * 2
    assert "_more\n" in migrate("upgrade", "head")
    assert migrate("check") == ""


def test_migrators_at_once(migrate):
    running = [subprocess.Popen([BINARY, "migrate", "upgrade"], cwd=migrate.folder, env=migrate.environment, text=True,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(4)]
    told = [process.communicate(timeout=60) for process in running]
    assert [process.returncode for process in running] == [0, 0, 0, 0], told
    lines = sorted(line for out, _ in told for line in out.splitlines())
    assert lines == sorted(set(lines)) and lines[0] == "upgraded to 0001_initial"
    assert migrate("check") == ""


def test_run_works_on_tables_of_other_revisions(make_subpay, user):
    subpay = make_subpay()
    for words in (("revision", "-m", "initial"), ("upgrade",), ("revision", "--autogenerate", "-m", "tables"),
                  ("upgrade",)):
        subpay.cli("migrate", *words, MIGRATIONS_DIR=str(subpay.folder / "own"))
    subpay.start()
    assert subpay.pay(user).status == 202
    subpay.rest()
