"""The token endpoint: client credentials by form or HTTP Basic, a mandatory scope of principal roles, no refresh token.

Tokens live in memory only, as Polaris' do while no signing key is configured: after a restart clients log in again.
"""

import base64
import binascii
import secrets
import threading
import time
import urllib.parse
from dataclasses import dataclass

from tools.stack.gateway.realm import Principal, Realm
from tools.stack.gateway.refusal import Reply, json_reply, unauthorized

SCOPE_PREFIX = "PRINCIPAL_ROLE:"
ALL_ROLES = "ALL"


@dataclass(frozen=True)
class Session:
    """What a token stands for; `roles` None means all of the principal's."""

    realm: str
    principal: str
    roles: frozenset[str] | None
    expires: float


def _error(status: int, name: str, description: str) -> Reply:
    return json_reply(status, {"error": name, "error_description": description})


def _credentials(form: dict[str, str], authorization: str) -> tuple[str, str] | None:
    if "client_secret" in form:
        return form.get("client_id", ""), form["client_secret"]
    if authorization.startswith("Basic "):
        try:
            pair = base64.b64decode(authorization[6:], validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            return None
        client_id, _, secret = pair.partition(":")
        return client_id, secret
    return None


def _roles(scope: str) -> frozenset[str] | None:
    """Returns the roles that a scope names; None for all.

    Raises:
        ValueError: if there is no scope, or one that does not name a principal role.
    """
    names = scope.split()
    if not names or not all(name.startswith(SCOPE_PREFIX) and len(name) > len(SCOPE_PREFIX) for name in names):
        raise ValueError(scope)
    roles = frozenset(name.removeprefix(SCOPE_PREFIX) for name in names)
    return None if ALL_ROLES in roles else roles


class Tokens:
    """Issues and checks access tokens."""

    def __init__(self, seconds: float) -> None:
        """Issues tokens that are good for so many seconds."""
        self.seconds = seconds
        self._sessions: dict[str, Session] = {}
        self._lock = threading.Lock()

    def issue(self, realm_name: str, realm: Realm, body: bytes, content_type: str, authorization: str) -> Reply:
        """Answers a token request."""
        if not content_type.startswith("application/x-www-form-urlencoded"):
            return _error(400, "invalid_request", "The request body must be form-encoded")
        form = dict(urllib.parse.parse_qsl(body.decode(errors="replace"), keep_blank_values=True))
        if form.get("grant_type") != "client_credentials":
            return _error(400, "unsupported_grant_type", "The grant type is invalid")
        credentials = _credentials(form, authorization)
        if credentials is None:
            return _error(400, "invalid_client", "The client is invalid")
        try:
            roles = _roles(form.get("scope", ""))
        except ValueError:
            return _error(400, "invalid_scope", "The scope is invalid")
        principal = realm.log_in(*credentials)
        if principal is None:
            return _error(401, "unauthorized_client", "The client is not authorized")
        if roles is not None and not roles <= set(principal.roles):
            return _error(400, "invalid_scope", "The scope names a role that the principal does not have")
        return self._grant(Session(realm_name, principal.name, roles, time.monotonic() + self.seconds))

    def _grant(self, session: Session) -> Reply:
        token = secrets.token_urlsafe(24)
        with self._lock:
            self._sessions[token] = session
        issued = "urn:ietf:params:oauth:token-type:access_token"
        answer = {"access_token": token, "token_type": "bearer", "issued_token_type": issued}
        return json_reply(200, answer | {"expires_in": max(1, int(self.seconds))})

    def revoke_all(self) -> None:
        """Makes all tokens invalid, as a restarted server does."""
        with self._lock:
            self._sessions.clear()

    def check(self, realm_name: str, realm: Realm, authorization: str) -> tuple[Principal, Session]:
        """Returns who sent a request.

        Raises:
            Refusal: 401, if the token is missing, unknown, expired, of another realm or of a deleted principal.
        """
        kind, _, token = authorization.partition(" ")
        session = self._sessions.get(token) if kind.lower() == "bearer" else None
        if session is None or session.realm != realm_name:
            raise unauthorized("Failed to verify the token")
        if time.monotonic() >= session.expires:
            raise unauthorized("Token has expired")
        principal = realm.principals.get(session.principal)
        if principal is None:
            raise unauthorized("Principal no longer exists")
        return principal, session
