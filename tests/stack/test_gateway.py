"""Each rule of Polaris: a client that does not know it fails, one that does passes. The real fixture is behind."""

import base64
import json
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tools.stack import Stack

pytestmark = pytest.mark.integration

VENDED = "vended-credentials"
TABLES = "lakehouse/namespaces/streamify/tables"


def test_token_request_without_a_scope_is_refused(stack: Stack, anonymous: Any) -> None:
    credentials = stack.gateway.credentials("worker")

    refused = anonymous.log_in(*credentials, scope=None)
    granted = anonymous.log_in(*credentials)

    assert (refused.status, refused.json()["error"]) == (400, "invalid_scope")
    assert granted.status == 200
    assert granted.json()["expires_in"] == 3600
    assert "refresh_token" not in granted.json()


@pytest.mark.parametrize("scope", ["catalog", "PRINCIPAL_ROLE:", "PRINCIPAL_ROLE:ALL catalog", "PRINCIPAL_ROLE:analyst"])
def test_scope_that_names_no_role_of_the_principal_is_refused(stack: Stack, anonymous: Any, scope: str) -> None:
    credentials = stack.gateway.credentials("worker")

    refused = anonymous.log_in(*credentials, scope=scope)

    assert (refused.status, refused.json()["error"]) == (400, "invalid_scope")
    assert anonymous.log_in(*credentials, scope="PRINCIPAL_ROLE:streamify_worker").status == 200
    assert anonymous.send("GET", TABLES).status == 200


def test_wrong_or_missing_secret_is_refused(stack: Stack, anonymous: Any) -> None:
    client_id, secret = stack.gateway.credentials("worker")
    form = {"Content-Type": "application/x-www-form-urlencoded"}

    wrong = anonymous.log_in(client_id, "wrong")
    missing = anonymous.send("POST", "oauth/tokens", None, **form)

    assert (wrong.status, wrong.json()["error"]) == (401, "unauthorized_client")
    assert missing.status == 400
    assert anonymous.log_in(client_id, secret).status == 200


def test_token_request_must_be_a_form_and_may_use_http_basic(stack: Stack, anonymous: Any) -> None:
    client_id, secret = stack.gateway.credentials("worker")
    url = f"{stack.gateway.catalog_uri}/v1/oauth/tokens"
    basic = "Basic " + base64.b64encode(f"{client_id}:{secret}".encode()).decode()
    form = {"Content-Type": "application/x-www-form-urlencoded", "Authorization": basic}
    body = b"grant_type=client_credentials&scope=PRINCIPAL_ROLE:ALL"

    as_json = anonymous.send("POST", "oauth/tokens", {"grant_type": "client_credentials"})
    no_secret = anonymous_post(url, body, form | {"Authorization": ""})
    as_basic = anonymous_post(url, body, form)

    assert as_json.status == 400
    assert (no_secret.status, no_secret.json()["error"]) == (400, "invalid_client")
    assert as_basic.status == 200


def anonymous_post(url: str, body: bytes, headers: dict[str, str]) -> Any:
    from tools.stack.http import request

    return request("POST", url, body, headers)


@pytest.mark.parametrize("authorization", ["", "Bearer nonsense", "Basic d29ya2VyOng="])
def test_request_without_a_valid_token_is_refused(worker: Any, anonymous: Any, authorization: str) -> None:
    refused = anonymous.send("GET", TABLES, Authorization=authorization)

    assert refused.status == 401
    assert refused.headers["www-authenticate"] == "Bearer"
    assert worker.send("GET", TABLES).status == 200


def test_expired_token_is_refused_until_the_client_logs_in_again(
    stack: Stack, anonymous: Any, wait_until: Callable[..., None]
) -> None:
    credentials = stack.gateway.credentials("worker")
    stack.gateway.control("POST", "tokens", seconds=0.2)
    anonymous.log_in(*credentials)

    wait_until(lambda: anonymous.send("GET", TABLES).status == 401, "the token to expire", 5)

    stack.gateway.control("POST", "tokens", seconds=60)
    assert anonymous.log_in(*credentials).status == 200
    assert anonymous.send("GET", TABLES).status == 200


def test_restart_of_the_server_keeps_principals_but_no_tokens(stack: Stack, worker: Any) -> None:
    stack.gateway.kill()
    stack.gateway.start()

    assert worker.send("GET", TABLES).status == 401
    assert worker.log_in(*stack.gateway.credentials("worker")).status == 200
    assert worker.send("GET", TABLES).status == 200


def test_realm_header_chooses_the_realm_and_tokens_do_not_cross(stack: Stack, worker: Any) -> None:
    unknown = worker.send("GET", "config?warehouse=lakehouse", Polaris_Realm="NOWHERE")
    other = worker.send("GET", "config?warehouse=lakehouse", Polaris_Realm="OTHER")
    own = worker.send("GET", "config?warehouse=lakehouse", Polaris_Realm="POLARIS")

    assert (unknown.status, other.status, own.status) == (404, 401, 200)
    assert worker.log_in(*stack.gateway.credentials("worker"), Polaris_Realm="OTHER").status == 401


def test_configuration_needs_a_known_warehouse(worker: Any) -> None:
    without = worker.send("GET", "config")
    unknown = worker.send("GET", "config?warehouse=nowhere")
    answer = worker.send("GET", "config?warehouse=lakehouse").json()

    assert (without.status, unknown.status) == (400, 404)
    assert answer["overrides"] == {"prefix": "lakehouse", "namespace-separator": "%1F"}
    assert "POST /v1/{prefix}/namespaces/{namespace}/tables/{table}" in answer["endpoints"]


def test_path_without_the_prefix_does_not_exist(worker: Any) -> None:
    assert worker.send("GET", "namespaces/streamify/tables").status == 404
    assert worker.send("GET", "nowhere/namespaces/streamify/tables").status == 404
    assert worker.send("GET", "lakehouse/namespaces/streamify/tables").status == 200


def test_levels_of_a_namespace_are_separated_as_the_configuration_says(log_in: Callable[[str], Any]) -> None:
    root = log_in("root")
    assert root.send("POST", "lakehouse/namespaces", {"namespace": ["streamify", "inner"]}).status == 200

    assert root.send("GET", "lakehouse/namespaces/streamify%2Einner").status == 404
    assert root.send("GET", "lakehouse/namespaces/streamify.inner").status == 404
    assert root.send("GET", "lakehouse/namespaces/streamify%1Finner").json()["namespace"] == ["streamify", "inner"]
    children = root.send("GET", "lakehouse/namespaces?parent=streamify")
    assert children.json()["namespaces"] == [["streamify", "inner"]]


def test_catalog_without_sts_gives_addresses_but_no_credentials(stack: Stack, worker: Any, table: str) -> None:
    answer = worker.load_table(table, X_Iceberg_Access_Delegation=VENDED)

    assert answer.status == 200
    assert not answer.json().get("storage-credentials")
    assert answer.json()["config"] == {
        "s3.endpoint": stack.minio.endpoint.url,
        "client.region": "us-east-1",
        "s3.path-style-access": "true",
    }


def test_remote_signing_is_not_supported(worker: Any, table: str) -> None:
    assert worker.load_table(table, X_Iceberg_Access_Delegation="remote-signing").status == 400
    assert worker.load_table(table, X_Iceberg_Access_Delegation=f"{VENDED},remote-signing").status == 400
    assert worker.load_table(table).status == 200


def test_catalog_that_should_vend_but_cannot_refuses_to_delegate(log_in: Callable[[str], Any], table: str) -> None:
    root = log_in("root")
    storage = {"storageType": "S3", "allowedLocations": ["s3://lakehouse"]}
    catalog = {"type": "INTERNAL", "name": "vending", "storageConfigInfo": storage}
    catalog["properties"] = {"default-base-location": "s3://lakehouse"}
    grant = {"grant": {"type": "catalog", "privilege": "CATALOG_MANAGE_CONTENT"}}
    assert root.send("POST", "/api/management/v1/catalogs", {"catalog": catalog}).status == 201
    role = "/api/management/v1/catalogs/vending/catalog-roles/catalog_admin/grants"
    assert root.send("PUT", role, grant).status == 201
    path = f"vending/namespaces/streamify/tables/{table}"

    assert root.send("GET", path, X_Iceberg_Access_Delegation=VENDED).status == 400
    assert root.send("GET", path).status == 200


@pytest.mark.parametrize(
    "name", ["a/b", "a\\b", "a:b", "a*b", "a?b", 'a"b', "a<b", "a>b", "a|b", "a#b", "a+b", "a`b", "", ".", "..", " a", "a\n"]
)
def test_forbidden_names_are_refused(worker: Any, name: str) -> None:
    assert worker.create_table(name).status == 400


@pytest.mark.parametrize("name", ["ü", "a b", "a%b", "a-b_c.d"])
def test_unusual_names_are_accepted(worker: Any, name: str) -> None:
    assert worker.create_table(name).status == 200


@pytest.mark.parametrize("location", ["s3://elsewhere/t", "s3://lakehouse/other/t", "s3://lakehouse/streamify_2/t"])
def test_table_must_lie_under_its_namespace(worker: Any, location: str) -> None:
    assert worker.create_table("outside", location=location).status == 403
    assert worker.create_table("outside", properties={"write.data.path": location}).status == 403
    assert worker.load_table("outside").status == 404


def test_table_under_its_namespace_is_created_where_it_wants(worker: Any) -> None:
    created = worker.create_table("moved", location="s3://lakehouse/streamify/elsewhere")

    assert created.json()["metadata"]["location"] == "s3://lakehouse/streamify/elsewhere"


@pytest.mark.parametrize("suffix", ["", "/inner", "/.."])
def test_table_must_not_overlap_another(worker: Any, table: str, suffix: str) -> None:
    location = f"s3://lakehouse/streamify/{table}{suffix}"

    assert worker.create_table("overlapping", location=location).status == 403


def test_commit_must_not_move_a_table_out_of_its_namespace(worker: Any, table: str) -> None:
    outside = "s3://lakehouse/other/t"

    assert worker.commit(table, {"action": "set-location", "location": outside}).status == 403
    assert worker.set_property(table, "write.metadata.path", outside).status == 403
    assert worker.set_property(table, "write.metadata.path", f"s3://lakehouse/streamify/{table}/meta").status == 200


def test_purge_is_forbidden_and_drop_without_purge_is_not(log_in: Callable[[str], Any], table: str) -> None:
    maintenance = log_in("maintenance")

    assert maintenance.send("DELETE", f"{TABLES}/{table}?purgeRequested=true").status == 403
    assert maintenance.send("DELETE", f"{TABLES}/{table}?purgeRequested=false").status == 204
    assert maintenance.load_table(table).status == 404


def test_body_over_ten_mebibytes_is_refused(worker: Any, table: str) -> None:
    path = f"{TABLES}/{table}/metrics"

    assert worker.send("POST", path, {"report": "x" * (10 * 1024 * 1024)}).status == 413
    assert worker.send("POST", path, {"report": "x" * (9 * 1024 * 1024)}).status == 204


def test_commit_on_a_stale_base_is_a_conflict(worker: Any, table: str) -> None:
    stale = {"type": "assert-table-uuid", "uuid": "00000000-0000-0000-0000-000000000000"}
    update = {"action": "set-properties", "updates": {"k": "v"}}
    right = {"type": "assert-table-uuid", "uuid": worker.load_table(table).json()["metadata"]["table-uuid"]}

    assert worker.commit(table, update, requirements=(stale,)).status == 409
    assert worker.commit(table, update, requirements=(right,)).status == 200


def test_concurrent_committers_lose_nothing(log_in: Callable[[str], Any], table: str) -> None:
    column = {"name": "", "required": False, "type": "long"}

    def add_columns(thread: int) -> None:
        client = log_in("worker")
        for number in range(3):
            while True:
                metadata = client.load_table(table).json()["metadata"]
                current = metadata["schemas"][-1]
                assert metadata["current-schema-id"] == current["schema-id"]
                field = column | {"id": metadata["last-column-id"] + 1, "name": f"c_{thread}_{number}"}
                schema = {"type": "struct", "schema-id": 99, "fields": [*current["fields"], field]}
                base = {"type": "assert-last-assigned-field-id", "last-assigned-field-id": metadata["last-column-id"]}
                updates = ({"action": "add-schema", "schema": schema}, {"action": "set-current-schema", "schema-id": -1})
                status = client.commit(table, *updates, requirements=(base,)).status
                assert status in {200, 409}
                if status == 200:
                    break

    with ThreadPoolExecutor(5) as pool:
        list(pool.map(add_columns, range(5)))

    fields = {field["name"] for field in log_in("worker").load_table(table).json()["metadata"]["schemas"][-1]["fields"]}
    assert fields == {"a"} | {f"c_{thread}_{number}" for thread in range(5) for number in range(3)}


def snapshot(number: int, **more: int) -> dict[str, Any]:
    return {
        "action": "add-snapshot",
        "snapshot": {
            "snapshot-id": number,
            "sequence-number": 1,
            "timestamp-ms": int(time.time() * 1000),
            "manifest-list": f"s3://lakehouse/streamify/t/metadata/{number}.avro",
            "summary": {"operation": "append"},
            "schema-id": 0,
            **more,
        },
    }


def test_stale_sequence_number_is_a_bad_request_not_a_conflict(worker: Any, table: str) -> None:
    branch = {"action": "set-snapshot-ref", "ref-name": "main", "type": "branch", "snapshot-id": 1}

    first = worker.commit(table, snapshot(1), branch)
    assert first.status == 200, first.body[:300]
    refused = worker.commit(table, snapshot(2, **{"parent-snapshot-id": 1}))

    assert refused.status == 400
    assert "sequence number" in refused.json()["error"]["message"]


WRITES: dict[str, Callable[[Any, str], Any]] = {
    "commit": lambda client, table: client.set_property(table, "by", "x"),
    "create table": lambda client, table: client.create_table(f"{table}_2"),
    "drop table": lambda client, table: client.send("DELETE", f"{TABLES}/{table}"),
    "create namespace": lambda client, _: client.send("POST", "lakehouse/namespaces", {"namespace": ["mine"]}),
    "transaction": lambda client, table: client.send(
        "POST",
        "lakehouse/transactions/commit",
        {
            "table-changes": [
                {
                    "identifier": {"namespace": ["streamify"], "name": table},
                    "requirements": [],
                    "updates": [{"action": "set-properties", "updates": {"by": "y"}}],
                }
            ]
        },
    ),
    "management": lambda client, _: client.send("GET", "/api/management/v1/principals"),
    "read": lambda client, table: client.load_table(table, X_Iceberg_Access_Delegation=VENDED),
    "list": lambda client, _: client.send("GET", TABLES),
    "namespace exists": lambda client, _: client.send("HEAD", "lakehouse/namespaces/streamify"),
    "list namespaces": lambda client, _: client.send("GET", "lakehouse/namespaces"),
}
ALLOWED = {
    "worker": {"commit", "create table", "transaction", "read", "list", "namespace exists"},
    "maintenance": {"commit", "drop table", "transaction", "read", "list", "namespace exists"},
    "analyst": {"read", "list", "namespace exists", "list namespaces"},
}


@pytest.mark.parametrize("principal", ALLOWED)
@pytest.mark.parametrize("action", WRITES)
def test_principal_may_do_what_its_work_needs_and_nothing_else(
    log_in: Callable[[str], Any], table: str, principal: str, action: str
) -> None:
    answer = WRITES[action](log_in(principal), table)

    if action in ALLOWED[principal]:
        assert answer.status in {200, 204}, answer.body
    else:
        assert answer.status == 403, answer.body


def test_management_bodies_must_have_the_form_of_the_official_sdk(log_in: Callable[[str], Any]) -> None:
    root = log_in("root")
    path = "/api/management/v1/principals"

    wrong = root.send("POST", path, {"principal": {"name": "", "properties": {"a": 1}}})
    created = root.send("POST", path, {"principal": {"name": "someone"}})

    assert wrong.status == 400
    assert created.status == 201
    assert created.json()["credentials"]["clientSecret"]
    assert "clientSecret" not in json.dumps(root.send("GET", f"{path}/someone").json())
    assert root.send("POST", path, {"principal": {"name": "someone"}}).status == 409


def test_secrets_are_kept_as_digests_in_a_file_of_mode_0600(stack: Stack) -> None:
    file = stack.gateway.data / "realm-POLARIS.json"

    assert file.stat().st_mode & 0o777 == 0o600
    for principal in ("worker", "maintenance", "analyst"):
        assert stack.gateway.credentials(principal)[1] not in file.read_text(encoding="utf-8")


def test_gateway_and_fixture_listen_on_loopback_only(stack: Stack) -> None:
    ports = {port for part in (stack.minio, stack.rest, stack.gateway) for port in part.ports}
    loopback = {"0100007F", "00000000000000000000000001000000", "0000000000000000FFFF00000100007F"}

    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with open(table, encoding="ascii") as file:  # noqa: PTH123 - a kernel file, not a path of ours
            for line in file.readlines()[1:]:
                address, state = line.split()[1], line.split()[3]
                host, _, port = address.partition(":")
                if state == "0A" and int(port, 16) in ports:
                    assert host in loopback, f"{address} is not loopback"
    assert os.path.exists("/proc/net/tcp")  # noqa: PTH110
