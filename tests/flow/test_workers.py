"""Services that are killed, and servers that go away: the short forms of tests/faults/workers.py and services.py."""
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "faults"))

pytestmark = pytest.mark.distributed


def test_processors_are_killed(tmp_path):
    import workers  # it is about the distributed engines alone
    workers.run(tmp_path, users=300, rounds=4, kills_per_s=2)


def test_postgres_is_killed(tmp_path):
    import workers
    workers.run(tmp_path, users=200, rounds=4, stop_count=2)


def test_every_service_is_killed(tmp_path):
    import services
    services.run(tmp_path, requests=2000, users=1000, every_s=4)


@pytest.mark.parametrize("engine", ["kafka", "postgres"])
def test_an_engine_is_away(tmp_path, engine):
    import services
    services.run(tmp_path, requests=0, users=100, engine=engine, seconds=8)
