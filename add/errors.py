"""The exception whose message is meant for the user."""


class UserError(ValueError):
    """An error that a user can cause and mend.

    The message says what was given, what was expected and what to do; scripts print it alone, without a
    traceback, and end with exit status 2.
    """
