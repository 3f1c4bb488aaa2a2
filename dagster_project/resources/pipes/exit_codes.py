"""What a worker's exit code means, in words for people, and whether trying again can help."""

import signal
from dataclasses import dataclass


@dataclass(frozen=True)
class ExitMeaning:
    """Meaning of an exit code.

    Attributes:
        text: completes the sentence "the worker exited with code 3: …".
        retry_helps: False where the same start would end the same way until a person acts.
    """

    text: str
    retry_helps: bool


KNOWN = {
    0: ExitMeaning("done", retry_helps=False),
    1: ExitMeaning("failure", retry_helps=True),
    2: ExitMeaning("bad settings; nothing was read or written", retry_helps=False),
    3: ExitMeaning("it needs a decision by a person; nothing restarts it by itself", retry_helps=False),
    126: ExitMeaning("the program could not be started", retry_helps=False),
    127: ExitMeaning("the program could not be started", retry_helps=False),
}


def meaning_of(exit_code: int) -> ExitMeaning:
    """Returns the meaning of `exit_code`; negative codes are the signal that ended the process."""
    if exit_code < 0:
        return ExitMeaning(f"killed by {_signal_name(-exit_code)}", retry_helps=True)
    if exit_code > 128:
        return ExitMeaning(f"ended at once by a second {_signal_name(exit_code - 128)}", retry_helps=True)
    return KNOWN.get(exit_code, ExitMeaning("unknown code, neither of ours nor a signal", retry_helps=True))


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
