"""Several processors over one PostgreSQL while they are killed, or it is: the short form of tests/faults/workers.py."""
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
