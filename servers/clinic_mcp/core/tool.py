"""What a server declares: its tools, the arguments they take, and the record each call is about."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Generic, Protocol, TypeVar, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, field_validator
from sqlalchemy import Connection, Table

from clinic_mcp.core.errors import Misconfigured
from clinic_mcp.core.identity import Caller
from clinic_mcp.core.policy import Entity

PatientId = Annotated[str, Field(pattern=r"^P[0-9]{3,12}$", description="The patient's id, e.g. P001")]
SessionId = Annotated[
    str, Field(pattern=r"^C-[0-9a-f]{16}$", description="The consultation's session id, e.g. C-0123456789abcdef")
]


class Arguments(BaseModel):
    """A tool's arguments: exact types, bounded values, nothing undeclared."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    @field_validator("*")
    @classmethod
    def _storable(cls, value: Any) -> Any:
        """PostgreSQL keeps no NUL in a text, and no text of a person holds one."""
        if isinstance(value, str) and "\x00" in value:
            raise ValueError("a text holds no NUL character")
        return value


ArgumentsT_contra = TypeVar("ArgumentsT_contra", bound=Arguments, contravariant=True)


@dataclass(frozen=True)
class Target:
    """The record a call is about.

    Args:
        resource: The Cedar resource with the attributes the policies need.
        patients: Ids of the patients the call asks about.
        facts: Server-computed context, where the action has any.
        entities: What the resource refers to, where policies look into that, too.
        known: Whether the record exists: for the audit log, never for the caller.
    """

    resource: Entity
    patients: tuple[str, ...] = ()
    facts: Mapping[str, Any] | None = None
    entities: tuple[Entity, ...] = ()
    known: bool = True


class May(Protocol):
    """Asks the policies whether the caller of a running tool may also do something else."""

    def __call__(self, action: str, inputs: Mapping[str, Any], target: Target) -> bool:
        """Whether the caller may do `action` with `inputs` to `target`."""


class TargetOf(Protocol[ArgumentsT_contra]):
    """Finds the record a call is about, with what the policies need to know of it."""

    def __call__(
        self, connection: Connection, arguments: ArgumentsT_contra, clinic_id: str, caller: Caller, /
    ) -> Target:
        """The target; a record nobody knows looks like one nobody may see."""


@dataclass
class Work:
    """What a running tool may use.

    Args:
        connection: A read transaction, or for a write tool the transaction its outcome commits with.
        caller: Who calls.
        call_id: The audit call id that every written row carries.
        clinic_id: The clinic this server serves.
        started: When the call came in, ISO 8601 in UTC.
        facts: What the server computed for the decision: a write looks again whether it still holds.
        may: Asks the policies about something else the same caller might do.
        disclosed: Set by a tool: ids of the patients its answer speaks of, beside those it was asked about.
        effect: Set by a write tool: which row it wrote, for the audit log.
    """

    connection: Connection
    caller: Caller
    call_id: str
    clinic_id: str
    started: str
    facts: Mapping[str, Any]
    may: May
    disclosed: list[str] = field(default_factory=list)
    effect: dict[str, str] | None = None


@dataclass(frozen=True)
class Tool(Generic[ArgumentsT_contra]):
    """One tool of a server."""

    name: str
    title: str
    description: str
    arguments: type[ArgumentsT_contra]
    target: TargetOf[ArgumentsT_contra]
    run: Callable[[Work, ArgumentsT_contra], Any]
    writes: bool
    bulk: bool
    kept: frozenset[str]
    input_schema: dict[str, Any]
    output_schema: dict[str, Any]
    wraps: bool

    def structured(self, value: Any) -> dict[str, Any]:
        """The value as MCP structured content: objects as they are, anything else under `result`."""
        return {"result": value} if self.wraps else value

    @property
    def hints(self) -> dict[str, bool]:
        """The four MCP annotations. Every tool reads one closed database; a repeated write changes nothing."""
        return {
            "read_only_hint": not self.writes,
            "destructive_hint": False,
            "idempotent_hint": True,
            "open_world_hint": False,
        }


class ServerTools:
    """The tools of one server, registered by decorating the functions that do the work.

    Args:
        name: The server's name, one of `settings.SERVERS`.
        title: What people read.
        instructions: What a model reads about the server as a whole.
        writes: The tables its tools write; each row carries the id of the call that wrote it.
    """

    def __init__(self, name: str, *, title: str, instructions: str, writes: Sequence[Table] = ()) -> None:
        self.writes = tuple(writes)
        self.name = name
        self.title = title
        self.instructions = instructions
        self.tools: dict[str, Tool[Any]] = {}

    def tool(
        self,
        *,
        title: str,
        arguments: type[ArgumentsT_contra],
        target: TargetOf[ArgumentsT_contra],
        kept: Iterable[str] = (),
        writes: bool = False,
        bulk: bool = False,
    ) -> Callable[[Callable[[Work, ArgumentsT_contra], Any]], Callable[[Work, ArgumentsT_contra], Any]]:
        """Register a function as a tool of its own name; its docstring is what the model reads.

        Args:
            title: What people read.
            arguments: The model of what it takes.
            target: Finds the record a call is about, for whom it is asked.
            kept: The arguments that the audit log may keep as they are: ids, codes and numbers, no text.
            writes: Whether it changes anything.
            bulk: Whether it may answer about many patients: refused first when the log's disk fills up.

        Raises:
            Misconfigured: The function has no docstring or no return type.
        """

        def register(run: Callable[[Work, ArgumentsT_contra], Any]) -> Callable[[Work, ArgumentsT_contra], Any]:
            name = run.__name__
            returns = get_type_hints(run).get("return")
            if not run.__doc__ or returns is None:
                raise Misconfigured(f"The tool {name} needs a docstring and a return type.")
            output = TypeAdapter(returns).json_schema(mode="serialization")
            wraps = output.get("type") != "object"
            if wraps:
                definitions = output.pop("$defs", None)
                output = {"type": "object", "properties": {"result": output}, "required": ["result"]}
                if definitions:
                    output["$defs"] = definitions
            self.tools[name] = Tool(
                name=name,
                title=title,
                description=" ".join(run.__doc__.split()),
                arguments=arguments,
                target=target,
                run=run,
                writes=writes,
                bulk=bulk,
                kept=frozenset(kept),
                input_schema=arguments.model_json_schema(),
                output_schema=output,
                wraps=wraps,
            )
            return run

        return register


def as_text(content: Mapping[str, Any]) -> str:
    """Structured content as the text that stands beside it."""
    return json.dumps(content, ensure_ascii=False)
