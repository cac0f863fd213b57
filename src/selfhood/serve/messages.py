"""OpenAI's messages and tools -> a talk and what may be called in it."""

from __future__ import annotations

import json
import re
from typing import Any

from selfhood.chat import Call, Message, Role
from selfhood.engine.types import Tool
from selfhood.serve.fields import Fields, fields_of
from selfhood.serve.refusal import invalid

MOST_MESSAGES = 2048
MOST_TOOLS = 128
ROLES: dict[str, Role] = {
    "system": "system",
    "developer": "system",  # OpenAI's newer word for it
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
}
# What clients send back with an assistant's message as they got it.
HARMLESS = dict.fromkeys(("name", "refusal", "annotations", "reasoning_content", "reasoning"))
_FUNCTION_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")


def read_messages(fields: Fields) -> tuple[Message, ...]:
    """A last message of the assistant is a reply that has been begun."""
    tables = fields.tables("messages", most=MOST_MESSAGES)
    if not tables:
        raise invalid("'messages' is missing.", "messages")
    return tuple(_message(table) for table in tables)


def read_tools(fields: Fields) -> tuple[Tool, ...]:
    """Those that the model is shown: none where ``tool_choice`` forbids calls."""
    tools = tuple(_tool(table) for table in fields.tables("tools", most=MOST_TOOLS))
    choice = fields.take("tool_choice")
    if choice not in (None, "none", "auto"):
        raise invalid("Invalid 'tool_choice': a model cannot be forced to call.", "tool_choice")
    return () if choice == "none" else tools


def _message(fields: Fields) -> Message:
    role = fields.needed_text("role")
    if role not in ROLES:
        raise invalid(f"Invalid '{fields.place('role')}': there are {', '.join(ROLES)}.",
                      fields.place("role"))  # fmt: skip
    calls = tuple(_call(table) for table in fields.tables("tool_calls", most=MOST_TOOLS))
    if calls and role != "assistant":
        raise invalid("Only an assistant makes calls.", fields.place("tool_calls"))
    content = _content(fields, is_needed=not calls)
    answers = fields.text("tool_call_id")
    fields.end(HARMLESS)
    return Message(ROLES[role], content, calls=calls, answers=answers)


def _content(fields: Fields, *, is_needed: bool) -> str:
    """One text, or text in parts."""
    content, place = fields.take("content"), fields.place("content")
    if content is None and is_needed:
        raise invalid(f"'{place}' is missing.", place)
    if content is None or isinstance(content, str):
        return content or ""
    if not isinstance(content, list):
        raise invalid(f"Invalid '{place}': expected a string or an array.", place)
    parts = [fields_of(part, f"{place}.{number}") for number, part in enumerate(content)]
    return "".join(map(_part, parts))


def _part(fields: Fields) -> str:
    kind, text = fields.take("type"), fields.text("text")
    if kind != "text" or text is None:
        raise invalid("This model reads text only.", fields.place("type"))
    return text


def _call(fields: Fields) -> Call:
    function = fields.table("function")
    name = _function_name(function)
    arguments = function.text("arguments") or "{}"
    if not _is_object(arguments):
        place = function.place("arguments")
        raise invalid(f"Invalid '{place}': expected a JSON object, as text.", place)
    return Call(name, arguments, fields.text("id") or "")


def _tool(fields: Fields) -> Tool:
    if fields.take("type") != "function":
        raise invalid("There are tools of type 'function' only.", fields.place("type"))
    function = fields.table("function")
    shown: dict[str, Any] = {"name": _function_name(function)}
    if (description := function.text("description")) is not None:
        shown["description"] = description
    if (parameters := function.take("parameters")) is not None:
        if not isinstance(parameters, dict):
            place = function.place("parameters")
            raise invalid(f"Invalid '{place}': expected an object.", place)
        shown["parameters"] = parameters
    function.end({"strict": (False,)})
    return {"type": "function", "function": shown}


def _function_name(function: Fields) -> str:
    name = function.needed_text("name")
    if not _FUNCTION_NAME.fullmatch(name):
        place = function.place("name")
        raise invalid(f"Invalid '{place}': expected letters, digits, '_', '.' and '-'.", place)
    return name


def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False
