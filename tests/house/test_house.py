"""The rules of the house, checked: who may include whom, which header is legal where, which calls are banned,
how long a file and a function may be, and that generated documents are the generated ones."""
import json
import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SRC = ROOT / "src"

# A room may include itself and what stands here (design: base <- billing <- contracts <- services <- cli, sim).
MAY_INCLUDE = {
    "base": set(),
    "billing": {"base"},
    "ledger": {"base", "billing"},
    "queue": {"base", "billing"},
    "http": {"base", "billing"},
    "gateway": {"base", "billing", "http"},  # http: client.h only, see below
    "mailer": {"base", "billing"},
    "audit": {"base", "billing"},
    "services": {"base", "billing", "ledger", "queue", "http", "gateway", "mailer"},
    "cli": {"base", "billing", "ledger", "queue", "http", "gateway", "mailer", "audit", "services"},
    "sim": {"base", "billing", "ledger", "queue", "gateway", "mailer", "http", "audit", "services"},
    ".": {"base", "cli", "sim"},
}
# A library's header is legal in these files only.
LIBRARY_DOOR = {
    "sqlite3.h": {"base/db_sqlite.h"},
    "libpq-fe.h": {"base/db_postgres.h"},
    "jansson.h": {"base/json.c"},
    "curl/curl.h": {"http/client.c"},
    "event2/": {"http/server.c"},
    "openssl/": {"base/uuid.c", "http/jwt.c"},
    "librdkafka/": {"queue/kafka_inside.h"},
}
# Headers that are not for every room that may include their folder.
PRIVATE_HEADER = {
    "ledger/ledger_driver.h": {"ledger", "sim"},
    "base/db_private.h": {"base"},
    "base/db_sqlite.h": {"base"},
    "base/db_postgres.h": {"base"},
}
BANNED = {
    r"\bstrcpy\s*\(": "text_copy", r"\bstrcat\s*\(": "str_add", r"\bsprintf\s*\(": "str_addf or snprintf",
    r"\bvsprintf\s*\(": "str_addv", r"\bstrtok\s*\(": "a loop", r"\bato[il]l?\s*\(": "text_i64",
    r"\balloca\s*\(": "arena_alloc", r"\bgets\s*\(": "fgets", r"\bstrncpy\s*\(": "text_copy_n",
    r"\bsystem\s*\(": "nothing", r"\brand\s*\(": "random_u64", r"\blocaltime\w*\s*\(": "date_of",
    r"\bmktime\s*\(": "date_start_us", r"\bgetenv\s*\(": "config_load",
}
FILE_LINES_MAX = 600
FUNCTION_LINES_MAX = 70


def sources(*suffixes):
    files = [p for p in sorted(SRC.rglob("*")) if p.suffix in suffixes]
    assert files, "no sources found"
    return files


def room(path):
    parts = path.relative_to(SRC).parts
    return parts[0] if len(parts) > 1 else "."


def name(path):
    return str(path.relative_to(SRC))


def includes(path, quoted):
    pattern = r'^\s*#\s*include\s*"([^"]+)"' if quoted else r"^\s*#\s*include\s*<([^>]+)>"
    return re.findall(pattern, path.read_text(), re.M)


def without_comments(text):
    """Comments and string contents blanked, lines kept."""
    def blank(match):
        piece = match.group(0)
        if piece.startswith("/"):
            return re.sub(r"[^\n]", " ", piece)
        return piece[0] + " " * (len(piece) - 2) + piece[-1]
    return re.sub(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"', blank, text, flags=re.S)


def test_every_room_is_in_the_plan():
    assert {room(p) for p in sources(".c", ".h")} <= set(MAY_INCLUDE)


def test_includes_follow_the_direction():
    wrong = []
    for path in sources(".c", ".h"):
        for header in includes(path, quoted=True):
            target = header.split("/")[0]
            if "/" not in header:
                wrong.append(f"{name(path)}: \"{header}\" does not say its room")
            elif target != room(path) and target not in MAY_INCLUDE[room(path)]:
                wrong.append(f"{name(path)} ({room(path)}) may not include {header}")
            elif header in PRIVATE_HEADER and room(path) not in PRIVATE_HEADER[header]:
                wrong.append(f"{name(path)}: {header} is private to {PRIVATE_HEADER[header]}")
            elif room(path) == "gateway" and target == "http" and header != "http/client.h":
                wrong.append(f"{name(path)}: a gateway knows http/client.h only")
    assert not wrong, "\n".join(wrong)


def test_a_library_has_one_door():
    wrong = []
    for path in sources(".c", ".h"):
        for header in includes(path, quoted=False):
            for library, doors in LIBRARY_DOOR.items():
                if header.startswith(library) and name(path) not in doors:
                    wrong.append(f"{name(path)} includes <{header}>; legal in {sorted(doors)}")
    assert not wrong, "\n".join(wrong)


def test_threads_live_in_the_runner():
    wrong = [name(p) for p in sources(".c", ".h")
             if "pthread_create" in without_comments(p.read_text())
             and not name(p).startswith("services/runner")]
    assert not wrong, f"threads are started in {wrong}"


def test_billing_is_pure():
    wrong = []
    for path in sources(".c"):
        if room(path) == "billing":
            for call in re.findall(r"\b(malloc|calloc|realloc|time|clock_gettime|fopen|open|printf)\s*\(",
                                   without_comments(path.read_text())):
                wrong.append(f"{name(path)} calls {call}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("pattern", sorted(BANNED))
def test_banned_call(pattern):
    wrong = []
    for path in sources(".c", ".h"):
        if name(path) == "base/crash.c":  # test builds only; it is told by the environment alone
            continue
        for number, line in enumerate(without_comments(path.read_text()).split("\n"), 1):
            if re.search(pattern, line):
                wrong.append(f"{name(path)}:{number}: use {BANNED[pattern]}")
    assert not wrong, "\n".join(wrong)


def test_files_and_functions_stay_small():
    wrong = []
    for path in sources(".c", ".h"):
        lines = path.read_text().split("\n")
        if len(lines) > FILE_LINES_MAX:
            wrong.append(f"{name(path)}: {len(lines)} lines, {FILE_LINES_MAX} at most")
        start = None
        for number, line in enumerate(lines, 1):
            if line == "{":
                start = number
            elif line == "}" and start is not None:
                if number - start + 1 > FUNCTION_LINES_MAX:
                    wrong.append(f"{name(path)}:{start}: a function of {number - start + 1} lines")
                start = None
    assert not wrong, "\n".join(wrong)


def test_no_marks_are_left():
    wrong = [f"{name(p)}:{n}" for p in sources(".c", ".h")
             for n, line in enumerate(p.read_text().split("\n"), 1)
             if re.search(r"TODO|FIXME|XXX|HACK", line)]
    assert not wrong, "\n".join(wrong)


def test_headers_say_what_they_are_for():
    wrong = [name(p) for p in sources(".h") if not p.read_text().startswith(f"/* {p.name}: ")]
    assert not wrong, f"no opening comment: {wrong}"


def test_the_document_lists_every_reason():
    text = (SRC / "billing" / "types.h").read_text()
    words = re.findall(r'X\(REASON_\w+, "(\w+)"\)', text)
    assert len(words) > 8
    document = json.loads((ROOT / "api" / "openapi.json").read_text())
    told = document["components"]["schemas"]["Payment"]["properties"]["reason"]["description"]
    assert [w for w in words if f"{w}: " not in told] == []


def test_sql_is_never_built_from_values():
    """SQL reaches the database as a literal: nothing formats a statement."""
    wrong = []
    for path in sources(".c"):
        text = path.read_text()
        # The one counts the rows of tables that it reads from the catalogue, the other wraps the audit's own files.
        if name(path) in ("ledger/migrations_rows.c", "audit/pairs.c"):
            continue
        for match in re.finditer(r'(?:addf|snprintf)\s*\([^;]*"\s*(?:SELECT|INSERT|UPDATE|DELETE)\b', text):
            wrong.append(f"{name(path)}:{text[:match.start()].count(chr(10)) + 1}")
    assert not wrong, "\n".join(wrong)


def test_format():
    files = [str(p.relative_to(ROOT)) for folder in ("src", "tests", "bench")
             for p in sorted((ROOT / folder).rglob("*.[ch]"))]
    assert len(files) > 100
    done = subprocess.run(["clang-format", "--dry-run", "-Werror", *files], cwd=ROOT, capture_output=True,
                          text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]


@pytest.mark.parametrize("flag, document", [("--env-example", ".env.example"),
                                            ("--markdown", "docs/configuration.md")])
def test_generated_documents_are_current(flag, document):
    binary = os.environ.get("SUBPAY_BINARY", ROOT / "build" / "subpay")
    done = subprocess.run([binary, "config", flag], capture_output=True, text=True, check=True)
    assert done.stdout == (ROOT / document).read_text(), f"run `make docs`: {document} is not the generated one"
