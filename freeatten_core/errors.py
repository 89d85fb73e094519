"""The two kinds of failure a user can meet; both are one clear sentence."""


class UsageError(ValueError):
    """What was asked for is wrong: an option, a name, a path, a text that is too short."""


class ContentError(RuntimeError):
    """What was asked for exists and cannot be used: unreadable content, disk, memory."""
