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
    materializable = _materializable(loaded)
    if name not in materializable:
        external = {spec.key.to_user_string() for spec in loaded.resolve_all_asset_specs()}
        why = "is written by another asset or service" if name in external else "is no asset"
        raise AttributeError(f"`{name}` {why}; assets to materialize: {', '.join(sorted(materializable))}")
    return _only(loaded, materializable[name])


def __dir__() -> list[str]:
    # Dagster swallows the message above and shows this list instead.
    return sorted(_materializable(defs()))


def _materializable(loaded: dg.Definitions) -> dict[str, dg.AssetsDefinition]:
    return {
        key.to_user_string(): asset
        for asset in loaded.assets or []
        if isinstance(asset, dg.AssetsDefinition) and asset.is_executable
        for key in asset.keys
    }


def _only(loaded: dg.Definitions, asset: dg.AssetsDefinition) -> dg.Definitions:
    checks = [
        check
        for check in loaded.asset_checks or []
        if isinstance(check, dg.AssetChecksDefinition) and any(spec.asset_key in asset.keys for spec in check.check_specs)
    ]
    return dg.Definitions(assets=[asset], asset_checks=checks, resources=loaded.resources, executor=loaded.executor)
