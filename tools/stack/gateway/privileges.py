"""Which granted privileges satisfy which demanded ones (`PolarisAuthorizerImpl.SUPER_PRIVILEGES`, Polaris 1.7)."""

CONTENT = frozenset({"CATALOG_MANAGE_CONTENT"})
MANAGE = CONTENT | {"CATALOG_MANAGE_METADATA"}
TABLE_WRITERS = MANAGE | {"TABLE_FULL_METADATA", "TABLE_WRITE_DATA", "TABLE_WRITE_PROPERTIES"}

_IMPLIED_BY: dict[str, frozenset[str]] = {
    "NAMESPACE_CREATE": MANAGE | {"NAMESPACE_CREATE", "NAMESPACE_FULL_METADATA"},
    "NAMESPACE_DROP": MANAGE | {"NAMESPACE_DROP", "NAMESPACE_FULL_METADATA"},
    "NAMESPACE_LIST": MANAGE
    | {
        *("NAMESPACE_CREATE", "NAMESPACE_FULL_METADATA", "NAMESPACE_LIST"),
        *("NAMESPACE_READ_PROPERTIES", "NAMESPACE_WRITE_PROPERTIES"),
    },
    "NAMESPACE_READ_PROPERTIES": MANAGE | {"NAMESPACE_FULL_METADATA", "NAMESPACE_READ_PROPERTIES", "NAMESPACE_WRITE_PROPERTIES"},
    "NAMESPACE_WRITE_PROPERTIES": MANAGE | {"NAMESPACE_FULL_METADATA", "NAMESPACE_WRITE_PROPERTIES"},
    "TABLE_CREATE": MANAGE | {"TABLE_CREATE", "TABLE_FULL_METADATA"},
    "TABLE_DROP": MANAGE | {"TABLE_DROP", "TABLE_FULL_METADATA"},
    "TABLE_LIST": TABLE_WRITERS | {"TABLE_CREATE", "TABLE_LIST", "TABLE_READ_DATA", "TABLE_READ_PROPERTIES"},
    "TABLE_READ_PROPERTIES": TABLE_WRITERS | {"TABLE_READ_DATA", "TABLE_READ_PROPERTIES"},
    "TABLE_WRITE_PROPERTIES": TABLE_WRITERS,
    "TABLE_FULL_METADATA": MANAGE | {"TABLE_FULL_METADATA"},
    "TABLE_READ_DATA": CONTENT | {"TABLE_READ_DATA", "TABLE_WRITE_DATA"},
    "TABLE_WRITE_DATA": CONTENT | {"TABLE_WRITE_DATA"},
}

# The privilege that each update of a commit demands; adding a snapshot is not part of the table's structure.
UPDATE_PRIVILEGES = {
    "assign-uuid": "TABLE_ASSIGN_UUID",
    "upgrade-format-version": "TABLE_UPGRADE_FORMAT_VERSION",
    "add-schema": "TABLE_ADD_SCHEMA",
    "set-current-schema": "TABLE_SET_CURRENT_SCHEMA",
    "add-spec": "TABLE_ADD_PARTITION_SPEC",
    "add-sort-order": "TABLE_ADD_SORT_ORDER",
    "set-default-sort-order": "TABLE_SET_DEFAULT_SORT_ORDER",
    "add-snapshot": "TABLE_ADD_SNAPSHOT",
    "set-snapshot-ref": "TABLE_SET_SNAPSHOT_REF",
    "remove-snapshots": "TABLE_REMOVE_SNAPSHOTS",
    "remove-snapshot-ref": "TABLE_REMOVE_SNAPSHOT_REF",
    "set-location": "TABLE_SET_LOCATION",
    "set-properties": "TABLE_SET_PROPERTIES",
    "remove-properties": "TABLE_REMOVE_PROPERTIES",
    "set-statistics": "TABLE_SET_STATISTICS",
    "remove-statistics": "TABLE_REMOVE_STATISTICS",
    "remove-partition-specs": "TABLE_REMOVE_PARTITION_SPECS",
}
NOT_STRUCTURE = {"TABLE_ADD_SNAPSHOT", "TABLE_SET_SNAPSHOT_REF"}

_IMPLIED_BY |= {
    privilege: TABLE_WRITERS | {privilege} | (set() if privilege in NOT_STRUCTURE else {"TABLE_MANAGE_STRUCTURE"})
    for privilege in UPDATE_PRIVILEGES.values()
}


def satisfies(granted: str, demanded: str) -> bool:
    """Returns whether a granted privilege is enough for a demanded one."""
    return granted in _IMPLIED_BY.get(demanded, {demanded})
