"""What the user can put right. Every other exception is ours, and keeps its traceback."""


class UserError(Exception):
    """A sentence that says where, what was found, and what to do next.

    A page shows it as a message with status 400; a command prints it after `Error:` and exits with 1.
    """


class NotFound(UserError):
    """What was asked for is not there: a page answers 404."""


class Busy(UserError):
    """Another writer held the database for longer than a save may wait: a page answers 503 and keeps what was typed."""


class Conflict(UserError):
    """Somebody else changed it meanwhile: a page answers 409 and keeps what was typed."""
