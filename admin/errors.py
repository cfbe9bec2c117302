"""What an operator is told when something is wrong: one shape, one table from exception to answer.

The shape is the contract's (`type`, `title`, `status`, `detail`, `instance`); the HTTP status always equals the
body's. `detail` is written by us: never text of the database, never a value that may be secret.
"""

import asyncpg
import msgspec
from litestar.exceptions import HTTPException, MethodNotAllowedException, NotFoundException


class ProblemBody(msgspec.Struct):
    """The error JSON of contract §2.0."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    """The route's template (`/api/key-management/keys/:id`), or the path where no route matched."""


class Problem(Exception):  # noqa: N818 - an answer, not a fault
    """Weir's no to an operator."""

    def __init__(self, status: int, kind: str, title: str, detail: str, retry_after: int | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.kind = kind
        """The part of `type` after `/errors/`."""
        self.title = title
        self.detail = detail
        self.retry_after = retry_after
        """Seconds."""

    def render(self, instance: str) -> bytes:
        """The body of the answer."""
        body = ProblemBody(f"/errors/{self.kind}", self.title, self.status, self.detail, instance)
        return msgspec.json.encode(body)


def invalid(title: str, detail: str) -> Problem:
    """A field holds what it may not hold."""
    return Problem(400, "validation", title, detail)


def not_found(title: str, detail: str) -> Problem:
    """The path or the body names something that does not exist."""
    return Problem(404, "not-found", title, detail)


def unreadable(detail: str) -> Problem:
    """The body is not JSON, or not of the types the fields have."""
    return Problem(400, "json-unmarshal", "json unmarshaller error", detail)


def unavailable(detail: str) -> Problem:
    """The database does not answer; trying again makes sense."""
    return Problem(503, "database-unavailable", "the database is not available", detail, retry_after=2)


def _no_such_path() -> Problem:
    return Problem(404, "not-found", "path is not found", "no such path, or not with this method")


def _no_database() -> Problem:
    return unavailable("PostgreSQL cannot be reached; nothing was changed that was not confirmed")


def _too_slow() -> Problem:
    return unavailable("PostgreSQL did not answer in time; a change may or may not have been made")


def _internal() -> Problem:
    return Problem(500, "internal", "internal error", "a bug in Weir; the log line with this request's id says more")


PROBLEMS = {
    # The first entry on an exception's method resolution order decides.
    NotFoundException: _no_such_path,
    MethodNotAllowedException: _no_such_path,
    HTTPException: lambda: Problem(400, "bad-request", "bad request", "the request cannot be read"),
    TimeoutError: _too_slow,
    asyncpg.QueryCanceledError: _too_slow,
    asyncpg.LockNotAvailableError: _too_slow,
    asyncpg.PostgresConnectionError: _no_database,
    asyncpg.OperatorInterventionError: _no_database,
    asyncpg.InsufficientResourcesError: _no_database,
    asyncpg.InvalidAuthorizationSpecificationError: _no_database,
    asyncpg.InvalidCatalogNameError: _no_database,
    asyncpg.ReadOnlySQLTransactionError: _no_database,
    asyncpg.InterfaceError: _no_database,
    OSError: _no_database,
    Exception: _internal,
}


def problem_of(error: BaseException) -> Problem:
    """How `error` is answered."""
    if isinstance(error, Problem):
        return error
    return next(PROBLEMS[kind]() for kind in type(error).__mro__ if kind in PROBLEMS)
