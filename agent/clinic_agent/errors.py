"""The errors a caller of this package can meet; each message is one sentence that says what to do."""


class AgentError(Exception):
    """Anything that keeps the agent from doing what it was asked.

    Args:
        message: one plain sentence for a person or a model to read.
        code: stable word for programs; the tools hand it on in a refusal value.
    """

    code = "internal"

    def __init__(self, message: str, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        if code is not None:
            self.code = code


class Refused(AgentError):
    """The clinic's side said no."""

    code = "refused"


class Unauthenticated(AgentError):
    """A credential or a grant was not accepted."""

    code = "unauthenticated"


class Unavailable(AgentError):
    """A server, the consultations service or the network did not answer."""

    code = "unavailable"


class SettingsProblem(AgentError):
    """A setting or a file the settings name is missing or wrong."""

    code = "settings"


class ModelProblem(AgentError):
    """The chosen model cannot be used."""

    code = "model"


class CeilingReached(AgentError):
    """The consultation has spent what it may spend on the model."""

    code = "ceiling"
