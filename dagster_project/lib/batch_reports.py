"""What a batch job reports, as metadata of Dagster. Shared by both executions, so that they show the same."""

from collections.abc import Mapping, Sequence

import dagster as dg

Value = dg.MetadataValue  # of any type
#: Figures of one table by name, as the job's own report has them: numbers, texts, lists, maps, nulls.
Report = Mapping[str, object]
#: What a reader looks for first; the rest follows in the report's own order.
FIRST = ("rows_in", "rows_out", "duplicates", "already_known", "conflicts", "repaired", "days")


def metadata_of(report: Report) -> dict[str, Value]:
    """Returns the metadata of one table's report; numbers are plain, so that Dagster plots them over time.

    Lists of days also give their number (`days_touched`), counts by table or column also give their sum, and ids are texts,
    because pages round large integers. What is null is left out.
    """
    metadata: dict[str, Value] = {}
    shown_first = [name for name in FIRST if name in report]
    for name, value in {**{name: report[name] for name in shown_first}, **report}.items():
        if value is not None and name != "table":
            metadata |= _entry(name, value)
    return metadata


def metadata_of_all(reports: Sequence[Report]) -> dict[str, Value]:
    """Returns the metadata of a run over several tables: sums of the counts, and a row for each table."""
    sums: dict[str, float] = {}
    rows = []
    for report in reports:
        counts = {name: value for name, value in _flat(report).items() if not name.endswith("_id")}
        for name, value in counts.items():
            sums[name] = sums.get(name, 0) + value
        rows.append(dg.TableRecord({"table": str(report.get("table", "")), **counts}))
    return {**{name: _number(value) for name, value in sums.items()}, "tables": dg.MetadataValue.table(rows, _schema(rows))}


def days_of(report: Report) -> Sequence[str]:
    """Returns the days that the job touched, `YYYY-MM-DD`."""
    days = report.get("days")
    return [str(day) for day in days] if isinstance(days, list) else []


def _entry(name: str, value: object) -> dict[str, Value]:
    if name.endswith("_id"):
        return {name: dg.MetadataValue.text(str(value))}
    if name == "watermark_ms" and isinstance(value, int):
        return {"watermark": dg.MetadataValue.timestamp(value / 1000)}
    if name == "days" and isinstance(value, list):
        return {"days": dg.MetadataValue.json(value), "days_touched": dg.MetadataValue.int(len(value))}
    if isinstance(value, Mapping):
        counts = [count for count in value.values() if isinstance(count, int)]
        by_name = {f"{name}_by_name": dg.MetadataValue.json(dict(value))}
        return by_name | ({name: dg.MetadataValue.int(sum(counts))} if len(counts) == len(value) else {})
    if isinstance(value, list):
        return {name: dg.MetadataValue.json(value)}
    if isinstance(value, bool):
        return {name: dg.MetadataValue.bool(value)}
    return {name: _number(value) if isinstance(value, int | float) else dg.MetadataValue.text(str(value))}


def _number(value: float) -> Value:
    return dg.MetadataValue.int(value) if isinstance(value, int) else dg.MetadataValue.float(value)


def _flat(report: Report) -> dict[str, int | float]:
    values = {name: entry.value for name, entry in metadata_of(report).items()}
    return {
        name: value
        for name, value in values.items()
        if isinstance(value, int | float) and not isinstance(value, bool) and name != "watermark"
    }


def _schema(rows: Sequence[dg.TableRecord]) -> dg.TableSchema:
    types: dict[str, str] = {"table": "string"}
    for row in rows:
        types |= {name: "float" if isinstance(cell, float) else "int" for name, cell in row.data.items() if name != "table"}
    return dg.TableSchema([dg.TableColumn(name, kind) for name, kind in types.items()])
