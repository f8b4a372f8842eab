"""The API against its own document: schemathesis makes requests from it and checks every answer."""
import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
VENV = ROOT / "build" / "venv"
PACKAGE = "schemathesis==4.32.5"


@pytest.fixture(scope="module")
def schemathesis():
    program = VENV / "bin" / "st"
    if not program.exists():
        subprocess.run(["/usr/bin/python3", "-m", "venv", VENV], check=True)
        done = subprocess.run([VENV / "bin" / "pip", "install", "-q", PACKAGE], capture_output=True, text=True,
                              check=False)
        if done.returncode != 0:
            pytest.skip(f"{PACKAGE} cannot be installed here: {done.stderr[-300:]}")
    return program


def test_the_answers_agree_with_the_document(schemathesis, subpay, user, tmp_path):
    done = subprocess.run(
        [schemathesis, "run", f"http://127.0.0.1:{subpay.port}/api/openapi.json",
         "--phases", "examples,coverage,fuzzing", "-n", "100", "--seed", "1"],
        cwd=tmp_path, capture_output=True, text=True, timeout=600, check=False,
        env={**os.environ, "SCHEMATHESIS_HOOKS": "schemathesis_hooks", "SUBPAY_TOKEN": subpay.token(user),
             "PYTHONPATH": str(Path(__file__).parent)})
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    subpay.rest()
    subpay.books_are_right()
