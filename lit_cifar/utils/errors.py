"""The one exception people see on the command line: a message without a traceback."""


class UserError(Exception):
    """Something the user can mend. The message says what was given, what is wrong and what to type instead."""

    exit_code = 1
