"""The entities of one realm: principals, roles, catalogs and grants; kept in a file, so that a restart forgets only tokens.

Of a secret only its digest is kept: as with Polaris, it can be read once, in the answer that creates it.
"""

import hashlib
import hmac
import json
import secrets
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tools.stack.gateway.privileges import satisfies

SERVICE_ADMIN = "service_admin"
CATALOG_ADMIN = "catalog_admin"

Grant = dict[str, Any]


@dataclass
class Principal:
    """Who logs in."""

    name: str
    client_id: str
    secret_digest: str
    properties: dict[str, str] = field(default_factory=dict)
    roles: list[str] = field(default_factory=list)


@dataclass
class PrincipalRole:
    """A group of principals; holds catalog roles as (catalog, role) pairs."""

    name: str
    properties: dict[str, str] = field(default_factory=dict)
    catalog_roles: list[list[str]] = field(default_factory=list)


@dataclass
class CatalogRole:
    """A set of grants inside one catalog."""

    name: str
    properties: dict[str, str] = field(default_factory=dict)
    grants: list[Grant] = field(default_factory=list)


@dataclass
class Catalog:
    """A catalog as its creator described it."""

    name: str
    properties: dict[str, str]
    storage: dict[str, Any]
    roles: dict[str, CatalogRole] = field(default_factory=dict)

    @property
    def base_location(self) -> str:
        """The location under which namespaces get theirs."""
        return self.properties["default-base-location"].rstrip("/")

    @property
    def allowed_locations(self) -> list[str]:
        """The locations under which anything may lie."""
        return [location.rstrip("/") for location in self.storage.get("allowedLocations") or [self.base_location]]

    @property
    def can_vend(self) -> bool:
        """Whether clients may expect credentials: unless the storage has no STS."""
        return not self.storage.get("stsUnavailable")


def digest(secret: str) -> str:
    """Returns what is kept of a secret."""
    return hashlib.sha256(secret.encode()).hexdigest()


@dataclass
class Realm:
    """All entities of a realm."""

    principals: dict[str, Principal] = field(default_factory=dict)
    principal_roles: dict[str, PrincipalRole] = field(default_factory=dict)
    catalogs: dict[str, Catalog] = field(default_factory=dict)

    def bootstrap(self, client_id: str, secret: str) -> None:
        """Sets the root principal's credentials."""
        self.principals["root"] = Principal("root", client_id, digest(secret), roles=[SERVICE_ADMIN])
        self.principal_roles.setdefault(SERVICE_ADMIN, PrincipalRole(SERVICE_ADMIN))

    def new_credentials(self, principal: Principal) -> str:
        """Gives a principal a new secret and returns it, for the only time."""
        secret = secrets.token_hex(16)
        principal.secret_digest = digest(secret)
        return secret

    def log_in(self, client_id: str, secret: str) -> Principal | None:
        """Returns the principal with these credentials."""
        for principal in self.principals.values():
            if principal.client_id == client_id:
                return principal if hmac.compare_digest(principal.secret_digest, digest(secret)) else None
        return None

    def grants_of(self, principal: Principal, roles: frozenset[str] | None, catalog: str) -> list[Grant]:
        """Returns all grants in a catalog that a principal has by the given roles of its own (None: by all)."""
        active = [name for name in principal.roles if roles is None or name in roles]
        found: list[Grant] = []
        for name in active:
            for owner, role in self.principal_roles[name].catalog_roles:
                if owner == catalog and role in self.catalogs[catalog].roles:
                    found.extend(self.catalogs[catalog].roles[role].grants)
        return found

    def save(self, path: Path) -> None:
        """Writes all entities to a file that only the owner can read."""
        draft = path.with_suffix(".draft")
        draft.touch(mode=0o600)
        draft.write_text(json.dumps(asdict(self)), encoding="utf-8")
        draft.replace(path)

    @staticmethod
    def load(path: Path) -> "Realm":
        """Reads a saved realm; an empty one if there is no file."""
        if not path.exists():
            return Realm()
        raw = json.loads(path.read_text(encoding="utf-8"))
        catalogs = {}
        for name, entry in raw["catalogs"].items():
            roles = {role: CatalogRole(**value) for role, value in entry.pop("roles").items()}
            catalogs[name] = Catalog(**entry, roles=roles)
        return Realm(
            {name: Principal(**entry) for name, entry in raw["principals"].items()},
            {name: PrincipalRole(**entry) for name, entry in raw["principal_roles"].items()},
            catalogs,
        )


def covers(grant: Grant, demanded: str, namespace: tuple[str, ...] | None, table: str | None) -> bool:
    """Returns whether a grant gives a privilege on a target; what is granted on a parent holds for all below it."""
    if not satisfies(grant["privilege"], demanded):
        return False
    if grant["type"] == "catalog":
        return True
    granted = tuple(grant["namespace"])
    if namespace is None or namespace[: len(granted)] != granted:
        return False
    return grant["type"] == "namespace" or (namespace == granted and grant.get("tableName") == table)
