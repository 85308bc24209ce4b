"""The one exception people see on the command line: a message without a traceback."""


class UserError(Exception):
    """Something the user can mend. The message says what was given, what is wrong and what to type instead."""

    exit_code = 1

    def _render_traceback_(self) -> list[str]:
        """What a notebook shows: the message alone."""
        return [f"{type(self).__name__}: {self}"]
