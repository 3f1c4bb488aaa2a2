"""Reading contracts for display."""

import pytest

from dagster_project.lib.contracts import DERIVED_COLUMNS, ContractError, load_contracts, parse_contract
from dagster_project.lib.paths import contracts_folder

FIFTH = """
name = "refund_events"
version = 3
topic = "refunds"
table = "bronze_refund_events"
doc = "One refund."
sort_key = ["userId", "ts"]

[[fields]]
name = "ts"
type = "long"
required = true
unit = "ms"
doc = "Event time."

[[fields]]
name = "user"
column = "userId"
type = "long"
personal = true
doc = "Who."
"""


def test_a_contract_gives_its_columns_and_then_the_ones_the_worker_adds():
    contract = parse_contract(FIFTH, "fifth.toml")

    assert (contract.table, contract.topic, contract.version) == ("bronze_refund_events", "refunds", 3)
    assert [column.name for column in contract.columns] == ["ts", "userId", *(column.name for column in DERIVED_COLUMNS)]
    ts, user = contract.columns[:2]
    assert (ts.type, ts.nullable, ts.description, ts.personal) == ("long", False, "Event time. Unit: ms.", False)
    assert (user.nullable, user.personal) == (True, True)


def test_the_project_has_its_four_topics():
    contracts = load_contracts(contracts_folder({}))

    assert [contract.table for contract in contracts] == [
        "bronze_auth_events",
        "bronze_listen_events",
        "bronze_page_view_events",
        "bronze_status_change_events",
    ]
    assert all(contract.doc and contract.sort_key for contract in contracts)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("name = 'x'", "contract `x.toml` lacks 'version'", id="a key is missing"),
        pytest.param("name = ", "contract `x.toml` is no TOML", id="broken file"),
    ],
)
def test_a_wrong_contract_is_named(text, message):
    with pytest.raises(ContractError, match=message):
        parse_contract(text, "x.toml")


def test_a_folder_without_contracts_is_an_error(tmp_path):
    with pytest.raises(ContractError, match="no contract in"):
        load_contracts(tmp_path)
