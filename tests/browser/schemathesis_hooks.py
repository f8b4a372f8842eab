"""Hooks for schemathesis: who asks, and keys that are used once.

One Idempotency-Key with two different requests is a 422 by the contract, whatever the document's schema can say;
the flow tests have that case. Bad keys go out as they were made."""
import itertools
import os

import schemathesis

COUNT = itertools.count(1)


@schemathesis.auth()
class Token:
    def get(self, case, context):
        return os.environ["SUBPAY_TOKEN"]

    def set(self, case, data, context):
        case.headers = case.headers or {}
        case.headers["Authorization"] = f"Bearer {data}"


@schemathesis.hook
def before_call(context, case, kwargs):
    wait = (case.query or {}).get("wait")
    if isinstance(wait, int) and 1 < wait <= 30:  # any allowed one will do, and the test has other things to do
        case.query["wait"] = 1
    for name in list(case.headers or {}):
        value = case.headers[name]
        if name.lower() == "idempotency-key" and isinstance(value, str) and 1 <= len(value) <= 200:
            if all("!" <= c <= "~" for c in value):
                case.headers[name] = f"{value}-{next(COUNT)}"
