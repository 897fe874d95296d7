"""The one exception that speaks to the user."""


class UserError(ValueError):
    """Something a user can cause and mend.

    The message says what was given, what was expected and what to do; scripts print it alone, without a
    traceback, and end with exit status 2.
    """
