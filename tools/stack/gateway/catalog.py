"""Answers catalog requests: checks them by the rules, forwards what passes, meets waiting faults on the way."""

import json
import threading
import time
import urllib.parse

from tools.stack.gateway import locations, rules
from tools.stack.gateway.injection import Fault, Injection
from tools.stack.gateway.realm import Catalog
from tools.stack.gateway.refusal import Refusal, Reply, bad_request, json_reply
from tools.stack.gateway.routes import ENDPOINTS, SEPARATOR, Target, match
from tools.stack.gateway.upstream import Upstream

FORWARDED_HEADERS = ("Content-Type", "If-None-Match", "X-Iceberg-Access-Delegation")


# For this the fixture answers 409, Polaris 1.7 answers 400.
STALE_SEQUENCE = b"Cannot add snapshot with sequence number"


class AnswerLost(Exception):
    """The connection to the client is to be closed without an answer."""


def config_reply(catalogs: dict[str, Catalog], query: str) -> Reply:
    """Answers `GET v1/config`.

    Raises:
        Refusal: 400 without warehouse, 404 for an unknown one.
    """
    name = dict(urllib.parse.parse_qsl(query)).get("warehouse")
    if not name:
        raise bad_request("Please specify a warehouse")
    if name not in catalogs:
        raise rules.unknown_catalog(name)
    overrides = {"prefix": urllib.parse.quote(name, safe=""), "namespace-separator": "%1F"}
    answer = {"defaults": catalogs[name].properties, "overrides": overrides, "endpoints": ENDPOINTS}
    return json_reply(200, answer)


class CatalogService:
    """Catalog requests of callers that are already known."""

    def __init__(self, upstream: Upstream, injection: Injection) -> None:
        """Works on a fixture."""
        self.upstream = upstream
        self.injection = injection
        self._locations: dict[tuple[tuple[str, ...], str], str] = {}

    def handle(self, caller: rules.Caller, method: str, path: str, query: str, body: bytes, headers: dict[str, str]) -> Reply:
        """Answers one request; `path` begins after the prefix.

        Raises:
            Refusal: what the gateway or a fault answers.
            AnswerLost: if a fault wants the connection closed.
        """
        target = match(method, path)
        operation = target.route.operation
        modes = rules.delegation_modes(headers.get("X-Iceberg-Access-Delegation"))
        rules.authorize(caller, target, body, modes)
        self._check(caller.catalog, target, query, body, modes)
        self.injection.count(f"accepted.{operation}")
        if operation == "report_metrics":
            return Reply(204)
        fault = self.injection.take(operation, target.table)
        reply = self._forward(target, query, body, headers, fault)
        if operation == "drop_table" and target.namespace and target.table:
            self._locations.pop((target.namespace, target.table), None)
        if reply.status == 200 and operation in {"load_table", "create_table", "register_table"}:
            reply.body = rules.with_config(reply.body, rules.client_config(caller.catalog))
        return reply

    def _check(self, catalog: Catalog, target: Target, query: str, body: bytes, modes: set[str]) -> None:
        operation = target.route.operation
        namespace = target.namespace or ()
        if operation in {"load_table", "create_table"}:
            rules.check_delegation(catalog, modes)
        if operation == "create_namespace":
            rules.check_names(rules.parse_object(body).get("namespace", []))
        elif operation == "create_table":
            request = rules.parse_object(body)
            rules.check_names([request.get("name")])
            location = self._namespace_location(catalog, namespace)
            locations.check_locations(catalog, location, request, self._sibling_locations(target))
        elif operation == "commit":
            request = rules.parse_object(body)
            if {"type": "assert-create"} not in request.get("requirements", []):
                locations.check_update_locations(self._namespace_location(catalog, namespace), request)
        elif operation == "drop_table":
            rules.check_drop(catalog, target, query)

    def _namespace_location(self, catalog: Catalog, namespace: tuple[str, ...]) -> str:
        """Namespaces lie under the catalog's base location by name; other locations are not supported here."""
        return "/".join([catalog.base_location, *namespace])

    def _sibling_locations(self, target: Target) -> dict[str, str]:
        """Returns the location of each table of the target's namespace; unknown ones are looked up once."""
        namespace = target.namespace or ()
        listing = self.upstream.send("GET", target.upstream_path, b"", {})
        names = [entry["name"] for entry in json.loads(listing.body).get("identifiers", [])]
        for name in names:
            if (namespace, name) not in self._locations:
                path = f"{target.upstream_path}/{urllib.parse.quote(name, safe='')}?snapshots=refs"
                table = self.upstream.send("GET", path, b"", {})
                if table.status == 200:
                    self._locations[namespace, name] = json.loads(table.body)["metadata"]["location"]
        return {name: self._locations[namespace, name] for name in names if (namespace, name) in self._locations}

    def _forward(self, target: Target, query: str, body: bytes, headers: dict[str, str], fault: Fault | None) -> Reply:
        if fault is not None:
            _answer_without_forwarding(fault)
        if fault is not None and fault.kind == "late":
            later = threading.Timer(fault.seconds, self._send, (target, query, body, headers))
            later.daemon = True
            later.start()
            raise AnswerLost
        if fault is not None and fault.kind == "delay":
            time.sleep(fault.seconds)
        if fault is not None and fault.kind == "hold":
            self.injection.hold(fault)
        reply = self._send(target, query, body, headers)
        if fault is not None and fault.kind == "twice":
            reply = self._send(target, query, body, headers)
        if fault is not None:
            _answer_after_forwarding(fault)
        return reply

    def _send(self, target: Target, query: str, body: bytes, headers: dict[str, str]) -> Reply:
        kept = {name: headers[name] for name in FORWARDED_HEADERS if name in headers}
        parent = query.replace(urllib.parse.quote(SEPARATOR), "%2E").replace("%1f", "%2E")
        path = target.upstream_path + (f"?{parent}" if query else "")
        reply = self.upstream.send(target.route.method, path, body, kept)
        if reply.status == 409 and STALE_SEQUENCE in reply.body:
            reply = Refusal(
                400, "ValidationException", "Cannot add snapshot with sequence number older than last sequence number"
            ).reply
        self.injection.count(f"forwarded.{target.route.operation}", f"status.{target.route.operation}.{reply.status}")
        return reply


def _answer_without_forwarding(fault: Fault) -> None:
    text = f"injected fault `{fault.kind}`"
    if fault.kind == "error_before":
        raise Refusal(fault.status, "InjectedFault", text)
    if fault.kind == "unavailable":
        raise Refusal(503, "ServiceUnavailableException", text, {"Retry-After": str(max(1, round(fault.seconds)))})
    if fault.kind == "conflict":
        raise Refusal(409, "CommitFailedException", f"Requirement failed: branch main has changed ({text})")
    if fault.kind == "stale_sequence":
        message = "Cannot add snapshot with sequence number 1 older than last sequence number 2"
        raise Refusal(400, "ValidationException", message)


def _answer_after_forwarding(fault: Fault) -> None:
    if fault.kind == "answer_lost":
        raise AnswerLost
    if fault.kind == "error_after":
        raise Refusal(fault.status, "InjectedFault", "injected fault `error_after`")
    if fault.kind == "delay_answer":
        time.sleep(fault.seconds)
