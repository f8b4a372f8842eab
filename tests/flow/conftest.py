import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from process import (BINARY, LOAD, Subpay, make_subpay, pytest_collection_modifyitems, pytest_configure,  # noqa: E402,F401
                     subpay, until, user)
