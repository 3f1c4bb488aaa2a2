"""Dockerfiles, as far as tests ask: instructions by stage."""

import json
import re
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
DOCKERFILES = sorted((REPOSITORY / "deploy" / "docker").glob("*.Dockerfile"))


@dataclass(frozen=True)
class Instruction:
    """One instruction; `stage` counts the FROMs before it, itself included."""

    stage: int
    keyword: str
    text: str


def parse(file: Path) -> list[Instruction]:
    """Reads a file; comments are gone, lines that go on are one, arguments with defaults are filled in."""
    lines = [line for line in file.read_text(encoding="utf-8").splitlines() if line.strip() and not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    arguments = dict(re.findall(r"^ARG (\w+)=(\S+)$", joined, flags=re.MULTILINE))
    filled = re.sub(r"\$\{(\w+)\}", lambda found: arguments[found[1]], joined)
    made: list[Instruction] = []
    for line in filled.splitlines():
        keyword, _, text = line.partition(" ")
        stage = (made[-1].stage if made else 0) + (keyword == "FROM")
        made.append(Instruction(stage, keyword, text.strip()))
    return made


def last(file: Path, keyword: str) -> str:
    """Returns the text of the last such instruction of the final stage."""
    instructions = parse(file)
    final = instructions[-1].stage
    return [one.text for one in instructions if one.stage == final and one.keyword == keyword][-1]


def command(file: Path, keyword: str) -> list[str]:
    """Returns ENTRYPOINT or CMD of the final stage, which must be in the form without a shell."""
    found: list[str] = json.loads(last(file, keyword))
    return found


def environment(file: Path) -> dict[str, str]:
    """Returns the variables of the final stage."""
    return dict(re.findall(r"(\w+)=(\S+)", last(file, "ENV")))
