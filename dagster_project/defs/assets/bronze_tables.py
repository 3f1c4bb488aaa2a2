"""The bronze tables, one for each contract, as external assets: the always-on worker writes them too.

A module with a `@dg.definitions` function offers nothing else to Dagster (an asset beside it would be dropped in silence), so
the job that fills these tables stands in `bronze.py`.
"""

import os
from collections.abc import Sequence

import dagster as dg

from dagster_project.lib.bronze_tables import table_specs
from dagster_project.lib.contracts import load_contracts
from dagster_project.lib.paths import contracts_folder


@dg.definitions
def bronze_tables() -> dg.Definitions:
    """The bronze tables as external assets, one for each contract: the always-on worker writes them too."""
    return dg.Definitions(assets=_specs())


def _specs() -> Sequence[dg.AssetSpec]:
    return table_specs(
        load_contracts(contracts_folder(os.environ)),
        catalog=os.environ.get("POLARIS_CATALOG") or "lakehouse",
        namespace=os.environ.get("POLARIS_NAMESPACE") or "streamify",
    )
