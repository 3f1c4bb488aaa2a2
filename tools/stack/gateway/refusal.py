"""A request that the gateway answers itself, in the error form of the Iceberg REST specification."""

import json
from dataclasses import dataclass, field


@dataclass
class Reply:
    """Status, headers and body of an answer."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


def json_reply(status: int, payload: object, headers: dict[str, str] | None = None) -> Reply:
    """Returns an answer with a JSON body."""
    return Reply(status, json.dumps(payload).encode(), {"Content-Type": "application/json", **(headers or {})})


class Refusal(Exception):
    """Ends the handling of a request with an error answer."""

    def __init__(self, status: int, kind: str, message: str, headers: dict[str, str] | None = None) -> None:
        """Describes the answer; `kind` is the exception name that Polaris would send."""
        super().__init__(message)
        error = {"message": message, "type": kind, "code": status}
        self.reply = json_reply(status, {"error": error}, headers)


def bad_request(message: str) -> Refusal:
    """Returns a 400."""
    return Refusal(400, "BadRequestException", message)


def forbidden(message: str) -> Refusal:
    """Returns a 403."""
    return Refusal(403, "ForbiddenException", message)


def not_found(message: str, kind: str = "NotFoundException") -> Refusal:
    """Returns a 404."""
    return Refusal(404, kind, message)


def unauthorized(message: str) -> Refusal:
    """Returns a 401."""
    return Refusal(401, "NotAuthorizedException", message, {"WWW-Authenticate": "Bearer"})
