"""Reports of batch jobs as metadata."""

import dagster as dg

from dagster_project.lib.batch_reports import days_of, metadata_of, metadata_of_all

REPORT = {
    "table": "silver_x",
    "rows_in": 12,
    "seconds": 0.5,
    "snapshot_id": 9_007_199_254_740_993,
    "days": ["2026-02-23", "2026-02-24"],
    "repaired": {"artist": 2, "song": 3},
    "watermark_ms": 1_771_848_000_000,
    "open_from": None,
    "full": False,
}


def test_numbers_stay_numbers_and_ids_become_texts():
    metadata = metadata_of(REPORT)

    assert metadata["rows_in"] == dg.MetadataValue.int(12)
    assert metadata["seconds"] == dg.MetadataValue.float(0.5)
    assert metadata["snapshot_id"] == dg.MetadataValue.text("9007199254740993")
    assert metadata["full"] == dg.MetadataValue.bool(False)
    assert "open_from" not in metadata


def test_what_a_reader_looks_for_comes_first():
    report = {"bytes": 9, "days": ["2026-02-23"], "duplicates": 1, "files": 2, "rows_out": 3, "rows_in": 4}

    assert list(metadata_of(report)) == ["rows_in", "rows_out", "duplicates", "days", "days_touched", "bytes", "files"]


def test_days_and_counts_by_name_also_give_their_sum():
    metadata = metadata_of(REPORT)

    assert metadata["days_touched"] == dg.MetadataValue.int(2)
    assert metadata["repaired"] == dg.MetadataValue.int(5)
    assert metadata["repaired_by_name"] == dg.MetadataValue.json({"artist": 2, "song": 3})
    assert metadata["watermark"] == dg.MetadataValue.timestamp(1_771_848_000.0)
    assert days_of(REPORT) == ["2026-02-23", "2026-02-24"]


def test_several_tables_give_sums_and_a_row_each():
    metadata = metadata_of_all([REPORT, {**REPORT, "table": "silver_y", "rows_in": 1, "seconds": 1.0}])

    assert metadata["rows_in"] == dg.MetadataValue.int(13)
    assert metadata["seconds"] == dg.MetadataValue.float(1.5)
    assert "snapshot_id" not in metadata
    assert "watermark" not in metadata
    assert [(row.data["table"], row.data["rows_in"]) for row in metadata["tables"].records] == [("silver_x", 12), ("silver_y", 1)]
