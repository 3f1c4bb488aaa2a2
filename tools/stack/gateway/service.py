"""All of the gateway behind HTTP: finds the realm, knows the caller, hands over to tokens, management, catalog or control."""

import threading
import urllib.parse
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tools.stack.gateway import rules
from tools.stack.gateway.catalog import CatalogService, config_reply
from tools.stack.gateway.injection import Fault, Injection
from tools.stack.gateway.management import Management
from tools.stack.gateway.realm import SERVICE_ADMIN, Principal, Realm
from tools.stack.gateway.refusal import Reply, bad_request, forbidden, json_reply, not_found
from tools.stack.gateway.tokens import Session, Tokens
from tools.stack.gateway.upstream import Upstream

CATALOG = "/api/catalog/v1/"
MANAGEMENT = "/api/management/v1/"
CONTROL = "/control/"


@dataclass(frozen=True)
class Request:
    """An HTTP request that was read completely; header names in their usual spelling."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True)
class Settings:
    """What the gateway is started with."""

    realms: tuple[str, ...] = ("POLARIS",)
    realm_header: str = "Polaris-Realm"
    token_seconds: float = 3600.0
    state: Path = field(default=Path())


class Gateway:
    """The gateway's state and its one entry point, `handle`; may be called from many threads."""

    def __init__(self, settings: Settings, upstream: Upstream) -> None:
        """Loads the realms' entities."""
        self.settings = settings
        self.realms = {name: Realm.load(self._file(name)) for name in settings.realms}
        self.tokens = Tokens(settings.token_seconds)
        self.injection = Injection()
        self.service = CatalogService(upstream, self.injection)
        self._lock = threading.Lock()

    def _file(self, realm: str) -> Path:
        return self.settings.state / f"realm-{realm}.json"

    def bootstrap(self, realm: str, client_id: str, secret: str) -> None:
        """Sets a realm's root credentials."""
        self.realms[realm].bootstrap(client_id, secret)
        self.realms[realm].save(self._file(realm))

    def handle(self, request: Request) -> Reply:
        """Answers a request.

        Raises:
            Refusal: the answer is an error.
            AnswerLost: there is to be no answer.
        """
        if request.path.startswith(CONTROL):
            return self._control(request)
        name = request.headers.get(self.settings.realm_header, self.settings.realms[0])
        realm = self.realms.get(name)
        if realm is None:
            raise not_found("Missing or invalid realm", "MissingOrInvalidRealm")
        if request.path == f"{CATALOG}oauth/tokens" and request.method == "POST":
            return self._issue(name, realm, request)
        authorization = request.headers.get("Authorization", "")
        principal, session = self.tokens.check(name, realm, authorization)
        if request.path.startswith(MANAGEMENT):
            return self._manage(name, realm, principal, session, request)
        if request.path.startswith(CATALOG):
            return self._catalog(realm, principal, session, request)
        raise not_found(f"No such path: {request.path}")

    def _issue(self, name: str, realm: Realm, request: Request) -> Reply:
        content_type = request.headers.get("Content-Type", "")
        authorization = request.headers.get("Authorization", "")
        reply = self.tokens.issue(name, realm, request.body, content_type, authorization)
        self.injection.count(f"status.token.{reply.status}")
        return reply

    def _manage(self, name: str, realm: Realm, principal: Principal, session: Session, request: Request) -> Reply:
        active = session.roles is None or SERVICE_ADMIN in session.roles
        if not active or SERVICE_ADMIN not in principal.roles:
            raise forbidden(f"Principal '{principal.name}' is not authorized for management")
        segments = [urllib.parse.unquote(part) for part in request.path.removeprefix(MANAGEMENT).split("/")]
        with self._lock:
            reply = Management(realm).handle(request.method, segments, request.body)
            if request.method != "GET":
                self.injection.count("management.changes")
                realm.save(self._file(name))
        return reply

    def _catalog(self, realm: Realm, principal: Principal, session: Session, request: Request) -> Reply:
        path = request.path.removeprefix(CATALOG)
        if path == "config" and request.method == "GET":
            self.injection.count("accepted.config")
            return config_reply(realm.catalogs, request.query)
        prefix, _, rest = path.partition("/")
        catalog = realm.catalogs.get(urllib.parse.unquote(prefix))
        if catalog is None:
            raise rules.unknown_catalog(prefix)
        grants = realm.grants_of(principal, session.roles, catalog.name)
        caller = rules.Caller(principal.name, catalog, grants)
        return self.service.handle(caller, request.method, rest, request.query, request.body, request.headers)

    def _control(self, request: Request) -> Reply:
        """Steers tests.

        `faults` (POST one, DELETE all), `holds` (DELETE), `counters` (GET, DELETE), `tokens` (POST settings, DELETE all).
        """
        what = request.path.removeprefix(CONTROL)
        payload: dict[str, Any] = rules.parse_object(request.body) if request.body else {}
        match request.method, what:
            case "POST", "faults":
                try:
                    self.injection.add(Fault.parse(payload))
                except (TypeError, ValueError) as error:
                    raise bad_request(str(error)) from error
            case "DELETE", "faults" | "counters":
                self.injection.clear(counters=what == "counters")
            case "DELETE", "holds":
                self.injection.release()
            case "POST", "tokens":
                self.tokens.seconds = float(payload["seconds"])
            case "DELETE", "tokens":
                self.tokens.revoke_all()
            case "GET", "counters" | "faults" | "health":
                pass
            case _:
                raise not_found(f"No such control: {request.method} {what}")
        return json_reply(200, self.injection.snapshot())
