"""What exit codes mean."""

import pytest

from dagster_project.resources.pipes.exit_codes import meaning_of


@pytest.mark.parametrize(
    ("exit_code", "text", "retry_helps"),
    [
        (0, "done", False),
        (1, "failure", True),
        (2, "bad settings; nothing was read or written", False),
        (3, "it needs a decision by a person; nothing restarts it by itself", False),
        (130, "ended at once by a second SIGINT", True),
        (-9, "killed by SIGKILL", True),
        (127, "the program could not be started", False),
        (77, "unknown code, neither of ours nor a signal", True),
    ],
)
def test_a_code_has_a_meaning_and_says_whether_a_retry_helps(exit_code, text, retry_helps):
    meaning = meaning_of(exit_code)

    assert (meaning.text, meaning.retry_helps) == (text, retry_helps)
