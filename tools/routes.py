#!/usr/bin/env python3
"""Turn the API document into the route table: routes.py api/openapi.json OUT.c

Defines API_ROUTES and API_ROUTE_COUNT (services/subscription_app.h). The document is the only
source of methods, paths, parameters, their forms and bounds, so whatever this script does not
understand fails the build: an operation without operationId, an unknown form, pattern, keyword or
extension.

Extensions: `x-also-body` on a query parameter (the field may come in the JSON body instead),
`x-role: admin` and `x-answered-by: pages` (no route: http/pages.c) on an operation. `writeOnly`
marks a secret.
"""
import json
import re
import sys

METHODS = {"get": "HTTP_GET", "put": "HTTP_PUT", "post": "HTTP_POST", "delete": "HTTP_DELETE",
           "patch": "HTTP_PATCH"}
PLACES = {"path": "API_PATH", "query": "API_QUERY", "header": "API_HEADER"}
OPERATION_KEYS = {"operationId", "summary", "description", "tags", "parameters", "requestBody",
                  "responses", "security", "x-role", "x-answered-by"}
PARAMETER_KEYS = {"name", "in", "required", "description", "schema", "example", "examples",
                  "x-also-body"}
SCHEMA_KEYS = {"type", "format", "enum", "minimum", "maximum", "minLength", "maxLength", "pattern",
               "default", "description", "example", "examples", "writeOnly"}
STRING_MAX = 4096  # characters of a text that the document allows at most
VISIBLE = r"^[\x21-\x7e]+$"
NO_NUL = r"^[^\u0000]*$"
CURSOR = r"^[1-9][0-9]{0,17}$"


class Wrong(Exception):
    """The document says something that cannot become a route."""


def need(condition: bool, where: str, what: str) -> None:
    if not condition:
        raise Wrong(f"{where}: {what}")


def no_duplicates(pairs: list) -> dict:
    names = [name for name, _ in pairs]
    need(len(names) == len(set(names)), "the document", f"a member twice among {names}")
    return dict(pairs)


def resolve(document: dict, node: dict, where: str) -> dict:
    for _ in range(8):
        need(isinstance(node, dict), where, "an object is needed")
        if "$ref" not in node:
            return node
        need(set(node) == {"$ref"} and node["$ref"].startswith("#/"), where,
             "a $ref is local and stands alone")
        target = document
        for part in node["$ref"][2:].split("/"):
            need(isinstance(target, dict) and part in target, where,
                 f"{node['$ref']} leads nowhere")
            target = target[part]
        node = target
    raise Wrong(f"{where}: $ref goes in circles")


def text(value: str) -> str:
    need(re.fullmatch(r"[\x20-\x7e]*", value) is not None, value, "printable ASCII is needed")
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def form_of(schema: dict, where: str) -> dict:
    unknown = set(schema) - SCHEMA_KEYS
    need(not unknown, where, f"unknown keywords {sorted(unknown)}")
    kind, out = schema.get("type"), {}
    if kind == "integer":
        need({"minimum", "maximum"} <= set(schema), where, "an integer needs minimum and maximum")
        need(not {"format", "enum", "pattern"} & set(schema), where, "not with an integer")
        need(-2**62 < schema["minimum"] <= schema["maximum"] < 2**62, where, "minimum to maximum")
        out.update(form="API_INTEGER", min=schema["minimum"], max=schema["maximum"])
        if "default" in schema:
            need(schema["minimum"] <= schema["default"] <= schema["maximum"], where,
                 "default out of bounds")
            out.update(has_default="true", default_number=schema["default"])
        return out
    need("default" not in schema, where, "only integers have a default")
    if kind == "boolean":
        return {"form": "API_BOOLEAN"}
    need(kind == "string", where, f"unknown type {kind!r}")
    if "enum" in schema:
        need(not {"format", "pattern", "minLength", "maxLength"} & set(schema), where,
             "not with an enum")
        values = schema["enum"]
        need(values and len(set(values)) == len(values), where, "an enum needs different values")
        return {"form": "API_ENUM", "values": values}
    if "format" in schema:
        forms = {"uuid": "API_UUID", "date": "API_DATE", "date-time": "API_TIME"}
        need(schema["format"] in forms, where, f"unknown format {schema['format']!r}")
        need("pattern" not in schema, where, "format and pattern")
        return {"form": forms[schema["format"]]}
    pattern = schema.get("pattern")
    if pattern == CURSOR:
        return {"form": "API_INTEGER", "min": 1, "max": 10**18 - 1}
    need(pattern in (VISIBLE, NO_NUL), where, f"unknown pattern {pattern!r}")
    need({"minLength", "maxLength"} <= set(schema), where, "a text needs minLength and maxLength")
    need(0 <= schema["minLength"] <= schema["maxLength"] <= STRING_MAX, where, "lengths")
    out.update(form="API_STRING", min_len=schema["minLength"], max_len=schema["maxLength"])
    if pattern == VISIBLE:
        out["visible_ascii"] = "true"
    return out


def parameter_of(document: dict, node: dict, where: str) -> dict:
    node = resolve(document, node, where)
    where = f"{where} {node.get('name')}"
    unknown = set(node) - PARAMETER_KEYS
    need(not unknown, where, f"unknown members {sorted(unknown)}")
    need(node.get("in") in PLACES, where, f"unknown place {node.get('in')!r}")
    schema = resolve(document, node.get("schema", {}), where)
    out = {"name": text(node["name"]), "in": PLACES[node["in"]]}
    if node.get("required", False):
        out["required"] = "true"
    need(node["in"] != "path" or "required" in out, where, "a path parameter is required")
    if "x-also-body" in node:
        need(node["in"] == "query" and node["x-also-body"] is True, where,
             "x-also-body: true, in query")
        out["also_body"] = "true"
    if schema.get("writeOnly"):
        out["secret"] = "true"
    out.update(form_of(schema, where))
    return out


def body_of(document: dict, node: dict, where: str) -> list:
    node = resolve(document, node, where)
    content = node.get("content", {})
    need(list(content) == ["application/json"], where, "a body is application/json")
    schema = resolve(document, content["application/json"].get("schema", {}), where)
    need(schema.get("type") == "object" and schema.get("additionalProperties") is False, where,
         "a body is an object with additionalProperties: false")
    required = schema.get("required", [])
    need(node.get("required", False) or not required, where, "required members of an optional body")
    need(set(required) <= set(schema.get("properties", {})), where, "required members are unknown")
    out = []
    for name, property_node in schema.get("properties", {}).items():
        property_schema = resolve(document, property_node, f"{where} {name}")
        parameter = {"name": text(name), "in": "API_BODY"}
        if name in required:
            parameter["required"] = "true"
        if property_schema.get("writeOnly"):
            parameter["secret"] = "true"
        parameter.update(form_of(property_schema, f"{where} {name}"))
        out.append(parameter)
    return out


def route_of(document: dict, path: str, method: str, item: dict, operation: dict) -> dict:
    where = f"{method.upper()} {path}"
    need(re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", operation.get("operationId", "")) is not None,
         where, "operationId is missing or no C identifier")
    unknown = set(operation) - OPERATION_KEYS
    need(not unknown, where, f"unknown members {sorted(unknown)}")
    need(operation.get("responses"), where, "no responses")
    need(operation.get("x-role", "admin") == "admin", where, "x-role is admin or absent")
    need(operation.get("x-answered-by", "pages") == "pages", where,
         "x-answered-by is pages or absent")
    nodes = item.get("parameters", []) + operation.get("parameters", [])
    parameters = [parameter_of(document, node, where) for node in nodes]
    if "requestBody" in operation:
        need(method != "get", where, "GET has no body")
        parameters += body_of(document, operation["requestBody"], where)
    else:
        need(not any("also_body" in p for p in parameters), where,
             "x-also-body without requestBody")
    names = [p["name"] for p in parameters]
    need(len(names) == len(set(names)), where, "a parameter twice")
    in_path = [p["name"] for p in parameters if p["in"] == "API_PATH"]
    need(in_path == [text(n) for n in re.findall(r"{([^}]*)}", path)], where,
         "path parameters differ from the path's, or their order does")
    security = operation.get("security", document.get("security", []))
    need(security or "x-role" not in operation, where, "a role without security")
    return {"method": METHODS[method], "path": path, "operation": operation["operationId"],
            "authenticated": bool(security), "admin": "x-role" in operation,
            "parameters": parameters, "pages": "x-answered-by" in operation}


def routes_of(document: dict) -> list:
    need(re.match(r"3\.[01]\.", document.get("openapi", "")) is not None, "the document",
         "OpenAPI 3 is needed")
    routes = []
    for path, item in document["paths"].items():
        need(re.fullmatch(r"(/([a-z0-9_.-]+|{[a-z_]+}))+/?", path) is not None, path,
             "unknown form of path")
        unknown = set(item) - set(METHODS) - {"parameters", "summary", "description"}
        need(not unknown, path, f"unknown members {sorted(unknown)}")
        for method, operation in item.items():
            if method in METHODS:
                routes.append(route_of(document, path, method, item, operation))
    operations = [r["operation"] for r in routes]
    need(len(operations) == len(set(operations)), "the document", "an operationId twice")
    shapes = [(r["method"], re.sub(r"{[^}]*}", "{}", r["path"]).rstrip("/")) for r in routes]
    need(len(shapes) == len(set(shapes)), "the document", "two operations answer the same requests")
    return [r for r in routes if not r["pages"]]


def write_parameters(lines: list, route: dict) -> None:
    for p in route["parameters"]:
        if "values" in p:
            name = f"{route['operation']}_{p['name'][1:-1]}".replace("-", "_")
            values = ", ".join(text(v) for v in p["values"])
            lines.append(f"static const char *const {name}[] = {{{values}, 0}};")
            p["values"] = name
    lines.append(f"static const struct api_param {route['operation']}_params[] = {{")
    for p in route["parameters"]:
        lines.append("    {" + ", ".join(f".{key} = {value}" for key, value in p.items()) + "},")
    lines.append("};")


def source_of(routes: list) -> str:
    most = max((len(r["parameters"]) for r in routes), default=0)
    lines = ["/* Generated by tools/routes.py from api/openapi.json: do not edit. */",
             '#include "services/subscription_app.h"', "",
             f'_Static_assert(API_PARAMS_MAX >= {most}, "parameters of an operation");', ""]
    lines += [f"api_handler handle_{r['operation']};" for r in routes] + [""]
    for route in routes:
        if route["parameters"]:
            write_parameters(lines, route)
    lines += ["", "const struct api_route API_ROUTES[] = {"]
    for r in routes:
        count = len(r["parameters"])
        params = f"{r['operation']}_params" if count else "0"
        flags = f"{str(r['authenticated']).lower()}, {str(r['admin']).lower()}"
        lines.append(f"    {{{r['method']}, {text(r['path'])}, {text(r['operation'])}, {flags}, "
                     f"{params}, {count}, handle_{r['operation']}}},")
    lines += ["};", f"const size_t API_ROUTE_COUNT = {len(routes)};", ""]
    return "\n".join(lines)


def main() -> int:
    if len(sys.argv) != 3:
        print(__doc__.splitlines()[0], file=sys.stderr)
        return 2
    try:
        with open(sys.argv[1], encoding="utf-8") as source:
            document = json.load(source, object_pairs_hook=no_duplicates)
        output = source_of(routes_of(document))
    except (Wrong, ValueError, KeyError, TypeError, OSError) as wrong:
        print(f"{sys.argv[1]}: {wrong}", file=sys.stderr)
        return 1
    with open(sys.argv[2], "w", encoding="ascii") as out:
        out.write(output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
