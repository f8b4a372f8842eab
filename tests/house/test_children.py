"""What starts servers leaves none behind."""
import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = """
import os, subprocess, tempfile
from children import die_with, end_at_sigterm
end_at_sigterm()
with tempfile.TemporaryDirectory() as folder:
    child = subprocess.Popen(["sleep", "60"], preexec_fn=die_with(os.getpid()))
    print(folder, child.pid, flush=True)
    child.wait()
"""


@pytest.mark.parametrize("number, code", [(signal.SIGTERM, 143), (signal.SIGKILL, -9)])
def test_nobody_is_left(number, code, tmp_path):
    program = subprocess.Popen([sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, text=True,
                               env={**os.environ, "PYTHONPATH": str(ROOT / "tests"), "TMPDIR": str(tmp_path)})
    folder, child = program.stdout.readline().split()
    program.send_signal(number)
    assert program.wait(20) == code
    assert Path(folder).exists() == (number == signal.SIGKILL)
    deadline = time.monotonic() + 20
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        while "State:\tZ" not in Path(f"/proc/{child}/status").read_text():
            assert time.monotonic() < deadline, "the child is left"
            time.sleep(0.02)


def test_programs_end_at_sigterm():
    """All that start servers: the benchmarks, and the fault tests."""
    programs = [path for folder in ("bench", "tests/faults") for path in (ROOT / folder).glob("*.py")
                if "def main():" in path.read_text()]
    assert len(programs) >= 7
    assert [path.name for path in programs if "    end_at_sigterm()\n" not in path.read_text()] == []
