"""Why the server refuses a request: each sentence with its HTTP status and OpenAI's words for it."""

from __future__ import annotations

from typing import ClassVar

from ..errors import LensPluginsError, MissingDependency, Unsupported

__all__ = [
    "BadRequest",
    "Busy",
    "Draining",
    "Forbidden",
    "Gone",
    "Late",
    "NotFound",
    "Refusal",
    "TooLarge",
    "WrongKey",
    "told",
]


class Refusal(LensPluginsError):
    """A request that is not answered.

    Args:
        message: the sentence that the client reads.
        param: the field of the request that it is about.
    """

    status: ClassVar[int] = 400
    type: ClassVar[str] = "invalid_request_error"
    code: ClassVar[str | None] = None
    retry_after: ClassVar[int | None] = None
    """Seconds after which the client may try again."""

    def __init__(self, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param


class BadRequest(Refusal):
    """A field that is missing, wrong or not supported."""


class WrongKey(Refusal):
    """No key, or another one."""

    status = 401
    type = "authentication_error"
    code = "invalid_api_key"


class Forbidden(Refusal):
    """Something that this server was not started for."""

    status = 403
    type = "permission_error"


class NotFound(Refusal):
    """No such model or route."""

    status = 404
    code = "model_not_found"


class TooLarge(Refusal):
    """More bytes, parts, pixels, points or seconds than the server takes."""

    status = 413
    code = "request_too_large"


class Busy(Refusal):
    """The queue is full."""

    status = 429
    type = "rate_limit_error"
    code = "queue_full"
    retry_after = 1


class Gone(Refusal):
    """The client went away, so nobody waits for the answer."""

    status = 499
    code = "client_closed_request"


class Draining(Refusal):
    """The server is being stopped."""

    status = 503
    type = "server_error"
    code = "shutting_down"
    retry_after = 5


class Late(Refusal):
    """The deadline passed before the answer was there."""

    status = 504
    type = "server_error"
    code = "deadline_exceeded"


def told(error: LensPluginsError) -> tuple[int, dict[str, str | None], int | None]:
    """Status, the error in OpenAI's shape, and seconds after which to try again."""
    status, kind, code, param, again = 400, "invalid_request_error", None, None, None
    if isinstance(error, Refusal):
        status, kind, code, param, again = error.status, error.type, error.code, error.param, error.retry_after
    elif isinstance(error, Unsupported):
        status, code = 422, "unsupported"
    elif isinstance(error, MissingDependency):
        status, kind, code = 501, "server_error", "missing_dependency"
    return status, {"message": str(error), "type": kind, "param": param, "code": code}, again
