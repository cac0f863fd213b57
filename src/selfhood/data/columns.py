"""A row as it stands in somebody's file -> Conversation.

messages | conversations | conversation   a list of turns (OpenAI or ShareGPT keys)
instruction + input + output              Alpaca: the two are joined by a line break
query/prompt/question ... + response/...  one question, one answer; `history` holds earlier ones
system | system_prompt                    the row's own system line
tag                                       zh or en: which name the row gets
"""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence

from selfhood.chat import Conversation, Language, Message, Role
from selfhood.errors import DataError

Row = Mapping[str, object]

MESSAGES = ("messages", "conversations", "conversation")
SYSTEM = ("system", "system_prompt")
QUERY = ("query", "prompt", "instruction", "question", "problem", "input")
RESPONSE = (
    "response", "answer", "output", "targets", "target", "answer_key", "answers", "solution",
    "text", "completion", "content",
)  # fmt: skip
PAIR: tuple[Role, Role] = ("user", "assistant")
ROLE_NAMES: Mapping[str, Role] = {
    "system": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "bot": "assistant",
    "model": "assistant",
    "function_call": "assistant",
    "tool_call": "assistant",
    "tool": "tool",
    "tool_response": "tool",
    "observation": "tool",
}


def to_conversation(row: Row, *, origin: str, rename: Mapping[str, str]) -> Conversation:
    """Detect the row's form and read it; DataError says what is missing."""
    columns = _named(row, rename)
    turns = _with_system(columns, _listed(columns, origin) or _answered(columns, origin), origin)
    _check(turns, origin)
    if turns[-1].role != "assistant":
        raise DataError(
            f"the last message is from {turns[-1].role!r}",
            where=origin,
            hint="a training row must end with the assistant's answer",
        )
    return Conversation(messages=tuple(turns), origin=origin, language=_language(columns))


def to_question(row: Row, *, origin: str, rename: Mapping[str, str]) -> Conversation:
    """As ``to_conversation``, for rows that are asked rather than trained: an answer may be there
    (it ends the conversation) or not. A row of text alone is the question."""
    columns = _named(row, rename)
    turns = _listed(columns, origin)
    if not turns:
        query = _query(columns, origin)
        if query is not None and _first(columns, RESPONSE) is not None:
            turns = _answered(columns, origin)
        else:
            asked = _first(columns, RESPONSE) if query is None else query
            if asked is None:
                raise _nothing_found("question", QUERY, columns, origin)
            turns = [*_history(columns, origin), Message("user", _text(asked, "query", origin))]
    turns = _with_system(columns, turns, origin)
    _check(turns, origin)
    return Conversation(messages=tuple(turns), origin=origin, language=_language(columns))


def _named(row: Row, rename: Mapping[str, str]) -> Row:
    """The columns under the names this module knows; a header cell may have blanks round it."""
    return {rename.get(name, name).strip().lower(): value for name, value in row.items()}


def _listed(columns: Row, origin: str) -> list[Message]:
    """The turns of a messages column; empty where there is none."""
    listed = _first(columns, MESSAGES)
    return [] if listed is None else _listed_turns(listed, origin)


def _answered(columns: Row, origin: str) -> list[Message]:
    response = _first(columns, RESPONSE)
    if isinstance(response, Sequence) and not isinstance(response, str) and response:
        response = response[0]
    if response is None:
        raise _nothing_found("answer", RESPONSE, columns, origin)
    query = _query(columns, origin)
    if query is None and any(name in columns for name in QUERY):
        raise _nothing_found("question", QUERY, columns, origin)
    asked = [] if query is None else [Message("user", query)]
    answer = Message("assistant", _text(response, "response", origin))
    return [*_history(columns, origin), *asked, answer]


def _query(columns: Row, origin: str) -> str | None:
    if "instruction" in columns and "input" in columns:  # Alpaca
        parts = (columns["instruction"], columns["input"])
        return "\n".join(_text(part, "instruction", origin) for part in parts if part)
    value = _first(columns, QUERY)
    return None if value is None else _text(value, "query", origin)


def _with_system(columns: Row, turns: list[Message], origin: str) -> list[Message]:
    system = _first(columns, SYSTEM)
    if system is None or turns[0].role == "system":
        return turns
    return [Message("system", _text(system, "system", origin)), *turns]


def _nothing_found(what: str, names: Sequence[str], columns: Row, origin: str) -> DataError:
    empty = next((name for name in names if name in columns), None)
    if empty is not None:
        return DataError(f"{empty} is null", where=origin, hint=f"write the {what} or drop the row")
    return DataError(
        f"no {what} found in the columns {', '.join(columns) or '(none)'}",
        where=origin,
        hint=f'name yours with --columns \'{{"your column": "{names[0]}"}}\'',
    )


def _history(columns: Row, origin: str) -> list[Message]:
    value = columns.get("history")
    if isinstance(value, str) and value.strip():
        try:
            value = ast.literal_eval(value)
        except (ValueError, SyntaxError) as error:
            raise DataError("history is not a list of pairs", where=origin) from error
    if not value:
        return []
    if not isinstance(value, Sequence) or any(
        not isinstance(pair, Sequence) or len(pair) != 2 for pair in value
    ):
        raise DataError("history is not a list of pairs", where=origin)
    return [
        Message(role, _text(text, "history", origin))
        for pair in value
        for role, text in zip(PAIR, pair, strict=True)
    ]


def _listed_turns(listed: object, origin: str) -> list[Message]:
    if not isinstance(listed, Sequence) or isinstance(listed, str) or not listed:
        raise DataError("messages is not a list of turns", where=origin)
    turns: list[Message] = []
    for number, item in enumerate(listed, start=1):
        if not isinstance(item, Mapping):
            raise DataError(f"turn {number} is not an object", where=origin)
        turns.extend(_turn(item, f"turn {number}", origin))
    return turns


def _turn(item: Mapping[str, object], label: str, origin: str) -> list[Message]:
    name = item.get("role", item.get("from"))
    if name is None and {"human", "assistant"} <= item.keys():  # ShareGPT's pair form
        return [
            Message("user", _text(item["human"], label, origin)),
            Message("assistant", _text(item["assistant"], label, origin)),
        ]
    role = ROLE_NAMES.get(str(name).lower())
    if role is None:
        raise DataError(
            f"{label} has the role {name!r}",
            where=origin,
            hint=f"use one of {', '.join(sorted(set(ROLE_NAMES.values())))}",
        )
    trained = item.get("loss")
    if trained is not None and not isinstance(trained, bool):
        raise DataError(f"{label}: loss is neither true nor false", where=origin)
    return [Message(role, _text(item.get("content", item.get("value")), label, origin), trained)]


def _check(turns: list[Message], origin: str) -> None:
    for number, message in enumerate(turns, start=1):
        if message.role == "system" and number > 1:
            raise DataError("a system message comes after the first turn", where=origin)
        if message.role == "assistant" and not message.content.strip():
            raise DataError("the answer is empty", where=origin, hint="write one or drop the row")
        if message.role == "user" and not message.content.strip():
            raise DataError("the question is empty", where=origin, hint="write one or drop the row")


def _first(columns: Row, names: Sequence[str]) -> object:
    return next((columns[name] for name in names if columns.get(name) is not None), None)


def _text(value: object, label: str, origin: str) -> str:
    if not isinstance(value, str):
        kind = "null" if value is None else type(value).__name__
        raise DataError(f"{label} is {kind}, not text", where=origin)
    try:
        value.encode()
    except UnicodeEncodeError as error:
        half = f"\\u{ord(value[error.start]):04x}"  # JSON allows half of a surrogate pair
        raise DataError(f"{label} holds {half}, which is no character", where=origin) from error
    return value


def _language(columns: Row) -> Language | None:
    tag = columns.get("tag")
    if tag == "zh":
        return "zh"
    return "en" if tag == "en" else None
