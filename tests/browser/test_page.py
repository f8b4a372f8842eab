"""The API page in a real browser, from the binary's own files, under its own content security policy."""
import re
import shutil
import subprocess
import urllib.request

import pytest

CHROMIUM = shutil.which("chromium")
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
         "--disable-background-networking", "--disable-component-update", "--virtual-time-budget=15000",
         "--enable-logging=stderr", "--v=0", "--dump-dom"]


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    if not CHROMIUM:
        pytest.skip("no chromium on this machine: install Debian's package chromium")
    from process import Subpay
    subpay = Subpay(tmp_path_factory.mktemp("page"), PROJECT_NAME="Cinema <Subscriptions>").start()
    try:
        done = subprocess.run(
            [CHROMIUM, *FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('chromium')}",
             f"http://127.0.0.1:{subpay.port}/api/openapi"], capture_output=True, text=True, timeout=120, check=True)
        yield subpay, done
    finally:
        subpay.kill()


def test_the_page_shows_every_route(page):
    subpay, done = page
    import json
    with urllib.request.urlopen(f"http://127.0.0.1:{subpay.port}/api/openapi.json") as answer:
        document = json.load(answer)
    shown = re.sub(r"[\u200b\s]+", "", re.sub(r"<[^>]*>", "", done.stdout))
    assert "Cinema" in shown
    for path, operations in document["paths"].items():
        assert path.replace("{", "").replace("}", "") in shown.replace("{", "").replace("}", ""), path
        for operation in operations.values():
            if isinstance(operation, dict) and "operationId" in operation:
                assert f'{operation["operationId"]}"' in done.stdout, operation["operationId"]


def test_the_console_is_clean(page):
    _, done = page
    complaints = [line for line in done.stderr.split("\n") if "CONSOLE" in line]
    assert not complaints, complaints


def test_the_title_is_the_project_name(page):
    subpay, _ = page
    import json
    with urllib.request.urlopen(f"http://127.0.0.1:{subpay.port}/api/openapi.json") as answer:
        assert json.load(answer)["info"]["title"] == "Cinema <Subscriptions>"


def test_the_page_loads_nothing_from_elsewhere(page):
    _, done = page
    assert not re.findall(r'(?:src|href)="https?://', done.stdout.split("<body")[0])
