"""Polaris' rules that the fixture does not know: privileges, delegation, names, purge (locations: beside)."""

import json
import urllib.parse
from dataclasses import dataclass
from typing import Any

from tools.stack.gateway.privileges import UPDATE_PRIVILEGES
from tools.stack.gateway.realm import Catalog, Grant, covers
from tools.stack.gateway.refusal import Refusal, bad_request, forbidden, not_found
from tools.stack.gateway.routes import Target, name_fault

Json = dict[str, Any]
PURGE_PROPERTIES = ("polaris.config.drop-with-purge.enabled", "drop-with-purge.enabled")


@dataclass(frozen=True)
class Caller:
    """Who asks, for which catalog, with which grants."""

    name: str
    catalog: Catalog
    grants: list[Grant]

    def demand(self, privilege: str, namespace: tuple[str, ...] | None, table: str | None) -> None:
        """Lets pass or refuses.

        Raises:
            Refusal: 403.
        """
        if not any(covers(grant, privilege, namespace, table) for grant in self.grants):
            raise forbidden(f"Principal '{self.name}' is not authorized for op demanding {privilege}")


def parse_object(body: bytes) -> Json:
    """Returns a JSON object.

    Raises:
        Refusal: 400, if the body is something else.
    """
    try:
        payload = json.loads(body)
    except ValueError as error:
        raise bad_request(f"Cannot parse the request body: {error}") from error
    if not isinstance(payload, dict):
        raise bad_request("The request body is not an object")
    return payload


def authorize(caller: Caller, target: Target, body: bytes, delegation: set[str]) -> None:
    """Demands the privileges of a request.

    Raises:
        Refusal: 403, or 400 if the body that says what is asked for cannot be read.
    """
    for privilege in target.route.privileges:
        caller.demand(privilege, target.namespace, target.table)
    operation = target.route.operation
    if operation == "load_table" and delegation:
        caller.demand("TABLE_READ_DATA", target.namespace, target.table)
    elif operation == "create_table" and delegation:
        caller.demand("TABLE_WRITE_DATA", target.namespace, None)
    elif operation == "commit":
        _authorize_commit(caller, parse_object(body), target.namespace, target.table)
    elif operation == "commit_transaction":
        for change in parse_object(body).get("table-changes", []):
            identifier = change["identifier"]
            _authorize_commit(caller, change, tuple(identifier["namespace"]), identifier["name"])
    elif operation == "rename_table":
        request = parse_object(body)
        source, destination = request["source"], request["destination"]
        caller.demand("TABLE_DROP", tuple(source["namespace"]), source["name"])
        caller.demand("TABLE_CREATE", tuple(destination["namespace"]), None)


def _authorize_commit(caller: Caller, request: Json, namespace: tuple[str, ...] | None, table: str | None) -> None:
    if {"type": "assert-create"} in request.get("requirements", []):
        caller.demand("TABLE_CREATE", namespace, None)
        return
    actions = [update.get("action") for update in request.get("updates", [])]
    demanded = {UPDATE_PRIVILEGES.get(str(action), "TABLE_WRITE_PROPERTIES") for action in actions}
    for privilege in demanded or {"TABLE_WRITE_PROPERTIES"}:
        caller.demand(privilege, namespace, table)


def delegation_modes(header: str | None) -> set[str]:
    """Returns the access delegation modes that a request asks for; unknown ones are ignored, as in Polaris."""
    modes = {mode.strip() for mode in (header or "").split(",")}
    return modes & {"vended-credentials", "remote-signing"}


def check_delegation(catalog: Catalog, modes: set[str]) -> None:
    """Refuses what the catalog cannot delegate.

    Raises:
        Refusal: 400, for remote signing, and for credentials of a catalog that should be able to vend but has no STS here.
    """
    signing = "remote-signing" in modes and (len(modes) == 1 or not catalog.can_vend)
    if signing:
        raise Refusal(400, "IllegalArgumentException", "Unsupported access delegation mode: REMOTE_SIGNING")
    if "vended-credentials" in modes and catalog.can_vend:
        message = "Credential vending was requested, but no credentials are available"
        raise Refusal(400, "IllegalArgumentException", message)


def check_drop(catalog: Catalog, target: Target, query: str) -> None:
    """Refuses to purge unless the catalog allows it.

    Raises:
        Refusal: 403.
    """
    purge = dict(urllib.parse.parse_qsl(query)).get("purgeRequested", "false").lower() == "true"
    if purge and not any(catalog.properties.get(name) == "true" for name in PURGE_PROPERTIES):
        raise forbidden(f"Unable to purge entity: {target.table}. To enable this feature, set `{PURGE_PROPERTIES[0]}`")


def check_names(names: list[object]) -> None:
    """Refuses names that Polaris does not take.

    Raises:
        Refusal: 400.
    """
    for name in names:
        fault = name_fault(name)
        if fault is not None:
            raise Refusal(400, "IllegalArgumentException", fault)


def client_config(catalog: Catalog) -> dict[str, str]:
    """Returns what Polaris tells clients about the store: address, region and path style, never keys."""
    storage = catalog.storage
    found = {"s3.endpoint": storage.get("endpoint"), "client.region": storage.get("region")}
    if storage.get("pathStyleAccess"):
        found["s3.path-style-access"] = "true"
    return {key: str(value) for key, value in found.items() if value}


def with_config(body: bytes, config: dict[str, str]) -> bytes:
    """Returns a LoadTable answer with another `config` and without credentials.

    The table metadata may be large, so the answer is only parsed where its end is not of the expected form.
    """
    start = body.rfind(b'"config":{')
    if start > 0 and body[start - 1 : start] == b",":
        try:
            end = json.loads(b"{" + body[start:])
        except ValueError:
            end = None
        if isinstance(end, dict) and set(end) <= {"config", "storage-credentials"}:
            return body[:start] + b'"config":' + json.dumps(config).encode() + b"}"
    answer = json.loads(body)
    answer.pop("storage-credentials", None)
    return json.dumps(answer | {"config": config}).encode()


def unknown_catalog(name: str) -> Refusal:
    """Returns the answer to an unknown warehouse or prefix."""
    return not_found(f"Unable to find warehouse {name}")
