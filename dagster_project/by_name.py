"""Every asset as an attribute of a module, for `dagster asset materialize -a NAME`.

That command's `-a` means "attribute of a module", and it takes its other options from the environment. With

    DAGSTER_CLI_ASSET_MATERIALIZE_MODULE_NAME=dagster_project.by_name
    DAGSTER_CLI_ASSET_MATERIALIZE_SELECT=*

exported, `-a bronze_streaming_job` loads `by_name.bronze_streaming_job`: definitions that hold this one asset with its checks
and resources, all of which are then selected.
"""

import dagster as dg

from dagster_project.definitions import defs


def __getattr__(name: str) -> dg.Definitions:
    if name.startswith("__"):  # Python's own questions, such as `__path__`
        raise AttributeError(name)
    loaded = defs()
    materializable = {key.to_user_string(): key for key in _materializable_keys(loaded)}
    if name not in materializable:
        external = {spec.key.to_user_string() for spec in loaded.resolve_all_asset_specs()} - materializable.keys()
        why = "is written by another asset or service" if name in external else "is no asset"
        raise AttributeError(f"`{name}` {why}; assets to materialize: {', '.join(sorted(materializable))}")
    return _only(loaded, materializable[name])


def _materializable_keys(loaded: dg.Definitions) -> set[dg.AssetKey]:
    return set(loaded.resolve_asset_graph().materializable_asset_keys)


def _only(loaded: dg.Definitions, key: dg.AssetKey) -> dg.Definitions:
    checks = [
        check
        for check in loaded.asset_checks or []
        if isinstance(check, dg.AssetChecksDefinition) and any(spec.asset_key == key for spec in check.check_specs)
    ]
    return dg.Definitions(
        assets=[loaded.resolve_assets_def(key)],
        asset_checks=checks,
        resources=loaded.resources,
        executor=loaded.executor,
    )
