"""tools/routes.py: the real document's table, and a failure for whatever it does not understand."""
import copy
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(os.environ.get("SUBPAY_ROOT", pathlib.Path(__file__).resolve().parents[2]))
DOCUMENT = json.loads((ROOT / "api" / "openapi.json").read_text(encoding="utf-8"))
PAYMENTS = "/api/v1/payments/"


def run(text: str) -> tuple[int, str, str]:
    """Exit code, what was made, what was said."""
    with tempfile.TemporaryDirectory() as folder:
        source, made = pathlib.Path(folder) / "in.json", pathlib.Path(folder) / "out.c"
        source.write_text(text, encoding="utf-8")
        done = subprocess.run([sys.executable, ROOT / "tools" / "routes.py", source, made],
                              capture_output=True, text=True, check=False, timeout=60)
        return done.returncode, made.read_text() if made.exists() else "", done.stderr


class Routes(unittest.TestCase):
    def setUp(self) -> None:
        self.document = copy.deepcopy(DOCUMENT)
        self.post = self.document["paths"][PAYMENTS]["post"]
        self.list = self.document["paths"][PAYMENTS]["get"]

    def fails(self, wanted: str) -> None:
        code, made, said = run(json.dumps(self.document))
        self.assertEqual(code, 1)
        self.assertEqual(made, "")
        self.assertIn(wanted, said)
        self.assertEqual(said.count("\n"), 1)

    def test_real_document(self) -> None:
        code, made, said = run(json.dumps(self.document))
        self.assertEqual((code, said), (0, ""))
        self.assertIn('{HTTP_POST, "/api/v1/payments/", "createPayment", true, false, '
                      "createPayment_params, 4, handle_createPayment},", made)
        self.assertIn('{HTTP_GET, "/health/live", "getLive", false, false, 0, 0, '
                      "handle_getLive},", made)
        self.assertIn('.name = "limit", .in = API_QUERY, .form = API_INTEGER, .min = 1, '
                      ".max = 100, .has_default = true, .default_number = 20", made)
        self.assertIn('.in = API_BODY, .secret = true, .form = API_STRING', made)
        self.assertNotIn("openapi.json\",", made)
        self.assertEqual(made.count("handle_") // 2, 7)

    def test_admin_route(self) -> None:
        self.list["x-role"] = "admin"
        self.assertIn('"listPayments", true, true,', run(json.dumps(self.document))[1])

    def test_no_operation_id(self) -> None:
        del self.post["operationId"]
        self.fails("operationId")

    def test_bad_operation_id(self) -> None:
        self.post["operationId"] = "create-payment"
        self.fails("operationId")

    def test_operation_id_twice(self) -> None:
        self.post["operationId"] = "listPayments"
        self.fails("twice")

    def test_unknown_members(self) -> None:
        self.post["x-rol"] = "admin"
        self.fails("x-rol")

    def test_unknown_role(self) -> None:
        self.post["x-role"] = "root"
        self.fails("x-role")

    def test_role_without_security(self) -> None:
        self.post["x-role"] = "admin"
        self.post["security"] = []
        self.fails("without security")

    def test_no_responses(self) -> None:
        self.post["responses"] = {}
        self.fails("responses")

    def test_unknown_type(self) -> None:
        self.post["parameters"][0]["schema"] = {"type": "array"}
        self.fails("unknown type")

    def test_unknown_format(self) -> None:
        self.post["parameters"][0]["schema"] = {"type": "string", "format": "email"}
        self.fails("unknown format")

    def test_unknown_pattern(self) -> None:
        self.post["parameters"][2]["schema"]["pattern"] = "^a+$"
        self.fails("unknown pattern")

    def test_unknown_keyword(self) -> None:
        self.post["parameters"][2]["schema"]["multipleOf"] = 2
        self.fails("multipleOf")

    def test_text_without_bounds(self) -> None:
        del self.post["parameters"][2]["schema"]["maxLength"]
        self.fails("maxLength")

    def test_integer_without_bounds(self) -> None:
        del self.document["components"]["parameters"]["Limit"]["schema"]["maximum"]
        self.fails("maximum")

    def test_default_out_of_bounds(self) -> None:
        self.document["components"]["parameters"]["Limit"]["schema"]["default"] = 101
        self.fails("default")

    def test_unknown_place(self) -> None:
        self.post["parameters"][0]["in"] = "cookie"
        self.fails("cookie")

    def test_parameter_twice(self) -> None:
        self.list["parameters"].append({"$ref": "#/components/parameters/Limit"})
        self.fails("twice")

    def test_lost_reference(self) -> None:
        self.list["parameters"] = [{"$ref": "#/components/parameters/Nothing"}]
        self.fails("leads nowhere")

    def test_path_parameter_missing(self) -> None:
        self.document["paths"]["/api/v1/payments/{payment_id}"]["get"]["parameters"].pop(0)
        self.fails("path parameters")

    def test_open_body(self) -> None:
        content = self.post["requestBody"]["content"]["application/json"]
        del content["schema"]["additionalProperties"]
        self.fails("additionalProperties")

    def test_body_of_another_type(self) -> None:
        self.post["requestBody"]["content"]["text/plain"] = {}
        self.fails("application/json")

    def test_body_with_get(self) -> None:
        self.list["requestBody"] = self.post["requestBody"]
        self.fails("GET")

    def test_same_shape_twice(self) -> None:
        paths = self.document["paths"]
        paths["/api/v1/payments"] = {"post": dict(self.post, operationId="again")}
        self.fails("same requests")

    def test_unknown_method(self) -> None:
        self.document["paths"][PAYMENTS]["purge"] = self.post
        self.fails("purge")

    def test_member_twice(self) -> None:
        code, _, said = run('{"openapi":"3.1.0","openapi":"3.1.0","paths":{}}')
        self.assertEqual(code, 1)
        self.assertIn("twice", said)

    def test_no_json(self) -> None:
        self.assertEqual(run("{")[0], 1)


if __name__ == "__main__":
    unittest.main()
