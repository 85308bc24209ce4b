"""The exception that the command line shows as one line, without a traceback."""


class UserError(ValueError):
    """A mistake that the user can correct. The message says what was given, what is wrong and what to do instead."""

    exit_code = 1

    def _render_traceback_(self) -> list[str]:
        """Show only the message in a notebook."""
        return [f"{type(self).__name__}: {self}"]
