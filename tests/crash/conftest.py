import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from process import BINARY, LOAD, Subpay, make_subpay, subpay, until, user  # noqa: E402,F401
