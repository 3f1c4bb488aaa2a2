"""The catalog paths that the gateway knows, below `/api/catalog/v1/{prefix}`, and what each demands."""

import urllib.parse
from dataclasses import dataclass

from tools.stack.gateway.refusal import not_found

SEPARATOR = "\x1f"
FORBIDDEN = set('/\\:*?"<>|#+`')


@dataclass(frozen=True)
class Route:
    """One kind of request; `privileges` are all demanded, on the table, else the namespace, else the catalog."""

    operation: str
    method: str
    pattern: str
    privileges: tuple[str, ...]


ROUTES = (
    Route("list_namespaces", "GET", "namespaces", ("NAMESPACE_LIST",)),
    Route("create_namespace", "POST", "namespaces", ("NAMESPACE_CREATE",)),
    Route("load_namespace", "GET", "namespaces/{namespace}", ("NAMESPACE_READ_PROPERTIES",)),
    Route("namespace_exists", "HEAD", "namespaces/{namespace}", ("NAMESPACE_LIST",)),
    Route("drop_namespace", "DELETE", "namespaces/{namespace}", ("NAMESPACE_DROP",)),
    Route("update_namespace", "POST", "namespaces/{namespace}/properties", ("NAMESPACE_WRITE_PROPERTIES",)),
    Route("list_tables", "GET", "namespaces/{namespace}/tables", ("TABLE_LIST",)),
    Route("create_table", "POST", "namespaces/{namespace}/tables", ("TABLE_CREATE",)),
    Route("register_table", "POST", "namespaces/{namespace}/register", ("TABLE_CREATE",)),
    Route("load_table", "GET", "namespaces/{namespace}/tables/{table}", ("TABLE_READ_PROPERTIES",)),
    Route("table_exists", "HEAD", "namespaces/{namespace}/tables/{table}", ("TABLE_LIST",)),
    Route("commit", "POST", "namespaces/{namespace}/tables/{table}", ()),
    Route("drop_table", "DELETE", "namespaces/{namespace}/tables/{table}", ("TABLE_DROP",)),
    Route("report_metrics", "POST", "namespaces/{namespace}/tables/{table}/metrics", ("TABLE_READ_DATA",)),
    Route("rename_table", "POST", "tables/rename", ()),
    Route("commit_transaction", "POST", "transactions/commit", ()),
)
ENDPOINTS = [f"{route.method} /v1/{{prefix}}/{route.pattern}" for route in ROUTES]


@dataclass(frozen=True)
class Target:
    """A request's route and what it is about."""

    route: Route
    namespace: tuple[str, ...] | None
    table: str | None

    @property
    def upstream_path(self) -> str:
        """The path at the fixture: no prefix, levels of a namespace separated by an encoded dot."""
        namespace = "%2E".join(urllib.parse.quote(level, safe="") for level in self.namespace or ())
        table = urllib.parse.quote(self.table or "", safe="")
        return "/v1/" + self.route.pattern.replace("{namespace}", namespace).replace("{table}", table)


def match(method: str, path: str) -> Target:
    """Finds the route of a path, which is still percent-encoded and begins after the prefix.

    Raises:
        Refusal: 404, if there is none.
    """
    segments = path.split("/")
    for route in ROUTES:
        names = route.pattern.split("/")
        if route.method != method or len(names) != len(segments):
            continue
        if all(name.startswith("{") or name == segment for name, segment in zip(names, segments, strict=True)):
            values = dict(zip(names, (urllib.parse.unquote(segment) for segment in segments), strict=True))
            namespace = values.get("{namespace}")
            return Target(route, split_namespace(namespace) if namespace else None, values.get("{table}"))
    raise not_found(f"No such endpoint: {method} {path}")


def split_namespace(text: str) -> tuple[str, ...]:
    """Returns the levels of a namespace; the only separator is the unit separator that the configuration names.

    Raises:
        Refusal: 404, if a level holds a dot: that is another separator, and no namespace of that name exists.
    """
    levels = tuple(text.split(SEPARATOR))
    if any("." in level for level in levels):
        raise not_found(f"Namespace does not exist: {text}", "NoSuchNamespaceException")
    return levels


def name_fault(name: object) -> str | None:
    """Returns what is wrong with the name of a new table or namespace level."""
    if not isinstance(name, str) or not name or name in {".", ".."}:
        return "Entity name must not be empty, '.' or '..'"
    if any(ord(letter) < 0x20 or 0x7F <= ord(letter) <= 0x9F for letter in name):
        return "Entity name must not contain control characters"
    wrong = FORBIDDEN.intersection(name)
    if wrong:
        return f"Entity name must not contain '{min(wrong)}': {name}"
    if name != name.strip():
        return f"Entity name must not have leading or trailing whitespace: {name}"
    return None
