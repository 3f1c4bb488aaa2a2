"""The generator's truth, read by Python: it is what a plain reader counts, and it names every fault at its place."""

import json
from pathlib import Path

import pytest

from tools.prove import faulty, recount
from tools.prove.generator import generator, made, window

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("faults", [(), ("D7", "D12", "D17", "D19")], ids=["clean", "with faults"])
def test_truth_is_what_a_plain_reader_counts(tmp_path: Path, faults: tuple[str, ...]) -> None:
    out, truth = tmp_path / "out", tmp_path / "truth"
    asked = [word for fault in faults for word in ("--fault", f"{fault}=0.1")]

    made(*window(800, 10, seed=3), *asked, "--out", str(out), "--truth", str(truth), folder=tmp_path)

    short = [claim for claim in recount.claims("truth", out, truth) if not claim.holds]
    assert short == []


def test_a_listed_fault_is_the_line_of_its_number(tmp_path: Path) -> None:
    out, truth = tmp_path / "out", tmp_path / "truth"

    done = made(*window(300, 7, seed=5), "--fault", "D23.array=0.01", "--out", str(out), "--truth", str(truth), folder=tmp_path)

    listed = {(row["topic"], row["ordinal"]) for row in recount.rows(truth, "faults")}
    files = {path.stem: path.read_bytes().splitlines() for path in out.iterdir()}
    found = {(topic, number) for topic, lines in files.items() for number, line in enumerate(lines) if line == b"[]"}
    assert found == listed
    assert len(found) == sum(topic["extras"] for topic in done.answer["topics"].values()) > 10
    assert json.loads((truth / "summary.json").read_text(encoding="utf-8"))["run_id"] == done.answer["run_id"]


def test_a_truth_is_not_overwritten(tmp_path: Path) -> None:
    arguments = [*window(10, 1, seed=1), "--truth", str(tmp_path / "truth")]
    made(*arguments, "--out", str(tmp_path / "one"), folder=tmp_path)

    again = generator(*arguments, "--out", str(tmp_path / "two"), folder=tmp_path)

    assert again.code == 1
    assert "exists already" in again.error
    assert "--overwrite" in again.error


def test_the_worker_makes_of_every_fault_what_the_truth_says(tmp_path: Path) -> None:
    short = [claim for claim in faulty.run(tmp_path, users=600, seed=4) if not claim.holds]

    assert short == []
