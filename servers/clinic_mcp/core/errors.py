"""The refusals and failures a caller may see: a stable code, one sentence, and what to do about it.

Nothing here carries an argument, a row or an exception text, because all of those can be patient data.
"""

from __future__ import annotations


class ClinicError(Exception):
    """A call that ends without a result.

    Args:
        message: One plain sentence for the caller; never patient data, never whether a record exists.
        advice: What the caller can do about it, where something can be done.
        code: Stable code; the class's own when not given.
    """

    code = "internal"

    def __init__(self, message: str, advice: str | None = None, *, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.advice = advice
        if code is not None:
            self.code = code


class Unauthenticated(ClinicError):
    """No credential, or one that does not verify. `reason` is for the audit log, not for the caller."""

    code = "unauthenticated"

    def __init__(self, reason: str, message: str | None = None, advice: str | None = None) -> None:
        super().__init__(message or "This call carries no valid credential.", advice)
        self.reason = reason


class InsufficientScope(Unauthenticated):
    """A valid credential without a scope this server asks for (RFC 6750, section 3.1). `scopes` are those it needs."""

    def __init__(self, scopes: tuple[str, ...]) -> None:
        super().__init__("insufficient-scope", "The token lacks a scope this server asks for.")
        self.scopes = scopes


class Refused(ClinicError):
    """The policies do not permit the call."""

    code = "refused"


class UnknownTool(ClinicError):
    """The server has no tool of that name."""

    code = "unknown_tool"


class InvalidArguments(ClinicError):
    """The arguments do not fit the tool's schema. The message names fields, never values."""

    code = "invalid_arguments"


class Conflict(ClinicError):
    """The state of the clinic's data does not allow the write."""

    code = "conflict"


class AuditUnavailable(ClinicError):
    """The call could not be put on the record, so it was not run, or its result was withheld."""

    code = "audit_unavailable"


IN_DOUBT = ("Whether the change was made is not known yet.", "Repeat exactly this call: it is made once.")
"""Sentence and advice for a write whose commit nobody confirmed."""


class Unavailable(ClinicError):
    """The database or another part the call needs cannot be reached."""

    code = "unavailable"


class Misconfigured(ClinicError):
    """The process refuses to start: the message says what is missing and what to do."""

    code = "misconfigured"
