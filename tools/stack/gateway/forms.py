"""The forms of the management API: request bodies checked with the models of the official SDK, entities as answers show them."""

import importlib
import json
from typing import Any

from tools.stack.gateway.realm import Catalog, CatalogRole, Principal, PrincipalRole
from tools.stack.gateway.refusal import bad_request

Json = dict[str, Any]


def validated(body: bytes, model: str) -> Json:
    """Returns a request body that has the form of an SDK model.

    Raises:
        Refusal: 400, if it has not.
    """
    try:
        payload = json.loads(body)
    except ValueError as error:
        raise bad_request(f"Cannot parse the request body: {error}") from error
    try:
        models = importlib.import_module("apache_polaris.sdk.management")
    except ImportError:
        return dict(payload)
    try:
        checked = getattr(models, model).from_dict(payload)
    except ValueError as error:
        raise bad_request(f"{model}: {error}") from error
    if checked is None:
        raise bad_request(f"{model}: the body is empty")
    return dict(payload)


def catalog_json(catalog: Catalog) -> Json:
    """Returns what is shown of a catalog."""
    return {
        "type": "INTERNAL",
        "name": catalog.name,
        "properties": catalog.properties,
        "storageConfigInfo": catalog.storage,
        "entityVersion": 1,
    }


def role_json(role: PrincipalRole | CatalogRole) -> Json:
    """Returns what is shown of a role of either kind."""
    return {"name": role.name, "properties": role.properties, "entityVersion": 1}


def principal_json(principal: Principal) -> Json:
    """Returns what is shown of a principal; never its secret."""
    names = {"name": principal.name, "clientId": principal.client_id}
    return {**names, "properties": principal.properties, "entityVersion": 1}


def credentials_json(principal: Principal, secret: str) -> Json:
    """Returns what is shown of a principal with its new secret, for the only time."""
    credentials = {"clientId": principal.client_id, "clientSecret": secret}
    return {"principal": principal_json(principal), "credentials": credentials}
