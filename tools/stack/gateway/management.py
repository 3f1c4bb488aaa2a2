"""The part of Polaris' management API that a bootstrap needs: catalogs, principals, roles, grants.

Request bodies are validated with the models of the official SDK where that is installed, so that what passes here
has the form that a Polaris server expects: see `forms`.
"""

import secrets
from collections.abc import Callable
from typing import Any

from tools.stack.gateway.forms import catalog_json, credentials_json, principal_json, role_json, validated
from tools.stack.gateway.realm import (
    CATALOG_ADMIN,
    SERVICE_ADMIN,
    Catalog,
    CatalogRole,
    Principal,
    PrincipalRole,
    Realm,
)
from tools.stack.gateway.refusal import Refusal, Reply, json_reply, not_found

ADMIN_GRANTS = ("CATALOG_MANAGE_ACCESS", "CATALOG_MANAGE_METADATA")


def _conflict(what: str) -> Refusal:
    return Refusal(409, "AlreadyExistsException", f"{what} already exists")


def _find(entities: dict[str, Any], name: str, what: str) -> Any:  # noqa: ANN401 - one of the entity classes
    if name not in entities:
        raise not_found(f"{what} {name} does not exist")
    return entities[name]


class Management:
    """Answers management requests on one realm; the caller holds the realm's lock."""

    def __init__(self, realm: Realm) -> None:
        """Works on a realm."""
        self.realm = realm

    def handle(self, method: str, segments: list[str], body: bytes) -> Reply:
        """Answers a request whose path, after `/api/management/v1`, has these segments.

        Raises:
            Refusal: 400, 404 or 409.
        """
        shape = "/".join(segment if index % 2 == 0 else "*" for index, segment in enumerate(segments))
        handlers: dict[str, Callable[[str, list[str], bytes], Reply]] = {
            "catalogs": self._catalogs,
            "catalogs/*": self._catalogs,
            "catalogs/*/catalog-roles": self._catalog_roles,
            "catalogs/*/catalog-roles/*": self._catalog_roles,
            "catalogs/*/catalog-roles/*/grants": self._grants,
            "principals": self._principals,
            "principals/*": self._principals,
            "principals/*/rotate": self._new_secret,
            "principals/*/reset": self._new_secret,
            "principals/*/principal-roles": self._assigned_roles,
            "principal-roles": self._principal_roles,
            "principal-roles/*": self._principal_roles,
            "principal-roles/*/catalog-roles/*": self._assigned_catalog_roles,
        }
        handler = handlers.get(shape)
        if handler is None:
            raise not_found(f"No such endpoint: {method} {'/'.join(segments)}")
        return handler(method, segments, body)

    def _catalogs(self, method: str, segments: list[str], body: bytes) -> Reply:
        catalogs = self.realm.catalogs
        if method == "POST" and len(segments) == 1:
            request = validated(body, "CreateCatalogRequest")["catalog"]
            if request["name"] in catalogs:
                raise _conflict(f"Catalog {request['name']}")
            catalog = Catalog(request["name"], request["properties"], request["storageConfigInfo"])
            grants = [{"type": "catalog", "privilege": privilege} for privilege in ADMIN_GRANTS]
            catalog.roles[CATALOG_ADMIN] = CatalogRole(CATALOG_ADMIN, grants=grants)
            catalogs[catalog.name] = catalog
            self.realm.principal_roles[SERVICE_ADMIN].catalog_roles.append([catalog.name, CATALOG_ADMIN])
            return json_reply(201, catalog_json(catalog))
        if len(segments) == 1:
            return json_reply(200, {"catalogs": [catalog_json(catalog) for catalog in catalogs.values()]})
        catalog = _find(catalogs, segments[1], "Catalog")
        if method == "DELETE":
            del catalogs[catalog.name]
            for role in self.realm.principal_roles.values():
                role.catalog_roles = [pair for pair in role.catalog_roles if pair[0] != catalog.name]
            return Reply(204)
        return json_reply(200, catalog_json(catalog))

    def _catalog_roles(self, method: str, segments: list[str], body: bytes) -> Reply:
        roles = _find(self.realm.catalogs, segments[1], "Catalog").roles
        if method == "POST" and len(segments) == 3:
            request = validated(body, "CreateCatalogRoleRequest")["catalogRole"]
            if request["name"] in roles:
                raise _conflict(f"CatalogRole {request['name']}")
            roles[request["name"]] = CatalogRole(request["name"], request.get("properties") or {})
            return json_reply(201, role_json(roles[request["name"]]))
        if len(segments) == 3:
            return json_reply(200, {"roles": [role_json(role) for role in roles.values()]})
        role = _find(roles, segments[3], "CatalogRole")
        if method == "DELETE":
            del roles[role.name]
            return Reply(204)
        return json_reply(200, role_json(role))

    def _grants(self, method: str, segments: list[str], body: bytes) -> Reply:
        role = _find(_find(self.realm.catalogs, segments[1], "Catalog").roles, segments[3], "CatalogRole")
        if method == "GET":
            return json_reply(200, {"grants": role.grants})
        model = "AddGrantRequest" if method == "PUT" else "RevokeGrantRequest"
        grant = validated(body, model)["grant"]
        if method == "POST":
            role.grants = [kept for kept in role.grants if kept != grant]
        elif grant not in role.grants:
            role.grants.append(grant)
        return Reply(201)

    def _principals(self, method: str, segments: list[str], body: bytes) -> Reply:
        principals = self.realm.principals
        if method == "POST" and len(segments) == 1:
            request = validated(body, "CreatePrincipalRequest")["principal"]
            if request["name"] in principals:
                raise _conflict(f"Principal {request['name']}")
            principal = Principal(request["name"], secrets.token_hex(8), "", request.get("properties") or {}, [])
            secret = self.realm.new_credentials(principal)
            principals[principal.name] = principal
            return json_reply(201, credentials_json(principal, secret))
        if len(segments) == 1:
            return json_reply(200, {"principals": [principal_json(entry) for entry in principals.values()]})
        principal = _find(principals, segments[1], "Principal")
        if method == "DELETE":
            del principals[principal.name]
            return Reply(204)
        return json_reply(200, principal_json(principal))

    def _new_secret(self, _method: str, segments: list[str], _body: bytes) -> Reply:
        principal = _find(self.realm.principals, segments[1], "Principal")
        return json_reply(200, credentials_json(principal, self.realm.new_credentials(principal)))

    def _assigned_roles(self, method: str, segments: list[str], body: bytes) -> Reply:
        principal = _find(self.realm.principals, segments[1], "Principal")
        if method == "GET":
            roles = [role_json(self.realm.principal_roles[name]) for name in principal.roles]
            return json_reply(200, {"roles": roles})
        name = validated(body, "GrantPrincipalRoleRequest")["principalRole"]["name"]
        _find(self.realm.principal_roles, name, "PrincipalRole")
        if name not in principal.roles:
            principal.roles.append(name)
        return Reply(201)

    def _principal_roles(self, method: str, segments: list[str], body: bytes) -> Reply:
        roles = self.realm.principal_roles
        if method == "POST" and len(segments) == 1:
            request = validated(body, "CreatePrincipalRoleRequest")["principalRole"]
            if request["name"] in roles:
                raise _conflict(f"PrincipalRole {request['name']}")
            roles[request["name"]] = PrincipalRole(request["name"], request.get("properties") or {})
            return json_reply(201, role_json(roles[request["name"]]))
        if len(segments) == 1:
            return json_reply(200, {"roles": [role_json(role) for role in roles.values()]})
        role = _find(roles, segments[1], "PrincipalRole")
        if method == "DELETE":
            del roles[role.name]
            for principal in self.realm.principals.values():
                principal.roles = [name for name in principal.roles if name != role.name]
            return Reply(204)
        return json_reply(200, role_json(role))

    def _assigned_catalog_roles(self, method: str, segments: list[str], body: bytes) -> Reply:
        role = _find(self.realm.principal_roles, segments[1], "PrincipalRole")
        catalog = _find(self.realm.catalogs, segments[3], "Catalog")
        if method == "GET":
            held = [name for owner, name in role.catalog_roles if owner == catalog.name]
            return json_reply(200, {"roles": [role_json(catalog.roles[name]) for name in held]})
        name = validated(body, "GrantCatalogRoleRequest")["catalogRole"]["name"]
        _find(catalog.roles, name, "CatalogRole")
        if [catalog.name, name] not in role.catalog_roles:
            role.catalog_roles.append([catalog.name, name])
        return Reply(201)
