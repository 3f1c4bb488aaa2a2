"""An event set as it may be delivered: in any number of batches, in any order, some events late, with broken lines among them."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

#: The share of deliveries that come in a later batch than their event time says.
LATE = 0.01
#: One line in so many is followed by one that is no event.
BROKEN_EVERY = 5_000
BROKEN = ('0\t{"ts":179300', "0\t[]", "0\t", '0\t{"ts":"soon","sessionId":1,"itemInSession":0}')


@dataclass(frozen=True)
class Batch:
    """One topic's part of a batch."""

    topic: str
    path: Path
    #: offset of its first line
    first_offset: int


def split(source: Path, topics: Sequence[str], count: int, order: str, seed: int, target: Path) -> list[list[Batch]]:
    """Writes the lines of each topic into `count` files, in event-time order but for the late ones.

    `order` is "forward", "backward" or "mixed": in which order the batches are delivered.
    """
    numbers = list(range(count))
    if order == "backward":
        numbers.reverse()
    elif order == "mixed":
        random.Random(seed).shuffle(numbers)
    batches: list[list[Batch]] = [[] for _ in numbers]
    for topic in topics:
        offsets = _write(source / f"{topic}.kv", numbers, random.Random(f"{seed}-{topic}"), target / topic)
        for position, offset in enumerate(offsets):
            batches[position].append(Batch(topic, target / topic / f"{position}.kv", offset))
    return batches


def _write(source: Path, numbers: list[int], chance: random.Random, folder: Path) -> list[int]:
    """Writes one topic's batches, `numbers[i]` being the i-th to be delivered; returns the first offset of each."""
    folder.mkdir(parents=True)
    count = len(numbers)
    position = {number: place for place, number in enumerate(numbers)}
    files = [(folder / f"{place}.kv").open("w", encoding="utf-8") for place in range(count)]
    lines = [0] * count
    size = source.stat().st_size
    read = 0
    with source.open(encoding="utf-8") as events:
        for number, line in enumerate(events):
            read += len(line)
            batch = min(count * read // (size + 1), count - 1)
            if chance.random() < LATE:
                batch = chance.randrange(batch, count)
            place = position[batch]
            files[place].write(line)
            lines[place] += 1
            if number % BROKEN_EVERY == 0:
                files[place].write(chance.choice(BROKEN) + "\n")
                lines[place] += 1
    for file in files:
        file.close()
    return [sum(lines[:place]) for place in range(count)]
