"""Where a table may lie: under its namespace, under the catalog's allowed locations, and not over another table."""

from typing import Any

from tools.stack.gateway.realm import Catalog
from tools.stack.gateway.refusal import forbidden

Json = dict[str, Any]
PATH_PROPERTIES = ("write.data.path", "write.metadata.path")


def is_under(location: str, parent: str) -> bool:
    """Returns whether a location is, or lies below, another."""
    return (location.rstrip("/") + "/").startswith(parent.rstrip("/") + "/")


def check_locations(catalog: Catalog, namespace_location: str, request: Json, siblings: dict[str, str]) -> None:
    """Refuses locations outside the catalog's or the namespace's, and such as overlap another table's.

    Args:
        catalog: whose allowed locations hold.
        namespace_location: under which the table must lie.
        request: what a create request asks for.
        siblings: location of each other table of the namespace, by name.

    Raises:
        Refusal: 403.
    """
    name = request["name"]
    location = str(request.get("location") or f"{namespace_location}/{name}")
    properties = request.get("properties") or {}
    for wanted in [location, *(properties[key] for key in PATH_PROPERTIES if key in properties)]:
        allowed = any(is_under(wanted, parent) for parent in catalog.allowed_locations)
        if not allowed or not is_under(wanted, namespace_location):
            raise forbidden(f"Invalid locations '[{wanted}]' for identifier '{name}': not under {namespace_location}")
    for sibling, taken in siblings.items():
        if sibling != name and (is_under(location, taken) or is_under(taken, location)):
            raise forbidden(
                f"Unable to create entity at location '{location}' "
                f"because it conflicts with existing table or namespace at {taken}"
            )


def check_update_locations(namespace_location: str, request: Json) -> None:
    """Refuses commits that move a table, or its data or metadata, out of its namespace.

    Raises:
        Refusal: 403.
    """
    for update in request.get("updates", []):
        wanted = [update.get("location")] if update.get("action") == "set-location" else []
        if update.get("action") == "set-properties":
            wanted = [update.get("updates", {}).get(key) for key in PATH_PROPERTIES]
        for location in wanted:
            if location and not is_under(location, namespace_location):
                raise forbidden(f"Invalid locations '[{location}]': not under {namespace_location}")
