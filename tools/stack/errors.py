"""The one error of the stack tool: a message that says what failed, where to look and what to do."""


class StackError(RuntimeError):
    """A component could not be built, started, reached or stopped."""
