"""A talk: history, a few commands, several identities side by side if asked."""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from typing import TextIO

from selfhood import console
from selfhood.chat import Message
from selfhood.engine.types import Delta, Engine, Request, Sampling
from selfhood.errors import InputError
from selfhood.recipe import SamplingOptions

WELCOME = """\
commands  quit, clear (forget the talk), reset-system (type a new system line),
          multi-line (end with #), single-line; Ctrl-C stops a reply, Ctrl-D leaves
          /adapter NAME (who answers from here on; base is the model itself),
          /system TEXT (another system line; the talk goes on)"""
LINE = "-" * 50
BASE = "base"
ALL = "all"
# Commands that multi-line input obeys without an end mark: one must be able to leave.
ALWAYS = ("single-line", "quit", "exit")


class Mode(Enum):
    """What the next input is."""

    LINE = "<<< "
    LINES = "<<<[M] "
    SYSTEM = "<<<[S] "


class Talk:
    """One person at a terminal. Each speaker keeps a history of its own; None is the base.

    Of all ``speakers`` those who are ``present`` answer, one after the other.
    """

    def __init__(
        self,
        engine: Engine,
        sampling: Sampling,
        *,
        speakers: tuple[str | None, ...],
        options: SamplingOptions,
    ) -> None:
        self.engine = engine
        self.sampling = sampling
        self.speakers = speakers
        self.present = speakers
        self.streams = options.stream is not False
        self.system: str | None = None
        self.mode = Mode.LINE
        self._entry = Mode.LINE
        self.histories: dict[str | None, list[Message]] = {name: [] for name in speakers}

    def run(self, source: TextIO) -> int:
        """Talk until quit, Ctrl-D or the end of the input."""
        if source.isatty():
            console.say(WELCOME)
        while (text := self._read(source)) is not None:
            if text.strip().lower() in ("quit", "exit"):
                break
            self.take(text)
        return 0

    def take(self, text: str) -> None:
        """A command, a system line, or something said to the model."""
        command = text.strip().lower()
        if self.mode is Mode.SYSTEM:
            self.system, self.mode = text.strip(), self._entry
            self._forget()
        elif command == "clear":
            self._forget()
            console.say("the talk is forgotten")
        elif command == "reset-system":
            self.mode = Mode.SYSTEM
        elif command == "default-system":
            self.system = None
            self._forget()
        elif command == "multi-line":
            self.mode = self._entry = Mode.LINES
        elif command == "single-line":
            self.mode = self._entry = Mode.LINE
        elif command.split(" ")[0] in ("/adapter", "/adapters"):
            self._switch(text.strip().partition(" ")[2].strip())
        elif command.split(" ")[0] == "/system":
            self.system = text.strip().partition(" ")[2].strip()
            console.say("the system line is another one; the talk goes on (clear forgets it)")
        elif command:
            for name in self.present:
                self._answer(name, text)

    def _switch(self, asked: str) -> None:
        """Let another speaker go on with the talk. It knows what those before it have said."""
        names = {name or BASE: name for name in (*self.speakers, None)}
        if asked == ALL:
            self._let_speak(self.speakers)
        elif asked in names:
            self._let_speak((names[asked],))
        else:
            there = ", ".join([*names, ALL] if len(self.speakers) > 1 else names)
            if asked:
                console.fail(f"no adapter is called {asked!r}; there are: {there}")
            else:
                console.say(f"there are: {there}")

    def _let_speak(self, speakers: tuple[str | None, ...]) -> None:
        last = self.histories[self.present[0]]
        for name in speakers:
            if name not in self.present:
                self.histories[name] = list(last)
        self.present = speakers
        console.say(f"{', '.join(name or BASE for name in speakers)} answers from here on")

    def _answer(self, name: str | None, text: str) -> None:
        history = self.histories[name]
        if len(self.present) > 1:
            console.result(f"[{name}]")
        asked = Message("user", text)
        request = Request(
            messages=(*self._system_message(), *history, asked),
            sampling=self.sampling,
            adapter=name,
        )
        try:
            reply = self._show(self.engine.stream([request]))
        except InputError as error:
            console.fail(str(error))
            return
        if reply:
            history += [asked, Message("assistant", reply)]
        console.say(LINE)

    def _show(self, deltas: Iterator[Delta]) -> str:
        """Print a reply; Ctrl-C stops it and keeps what was said."""
        text = ""
        try:
            for delta in deltas:
                text += delta.text
                if self.streams:
                    console.result(delta.text, end="")
        except KeyboardInterrupt:
            console.say(" [stopped]")
        console.result("" if self.streams else text)
        return text

    def _system_message(self) -> tuple[Message, ...]:
        return () if self.system is None else (Message("system", self.system),)

    def _forget(self) -> None:
        for history in self.histories.values():
            history.clear()

    def _read(self, source: TextIO) -> str | None:
        """The next input, or None at its end. Ctrl-C at the prompt leaves."""
        lines: list[str] = []
        while True:
            line = console.ask(self.mode.value if not lines else "", source)
            if line is None:
                return "\n".join(lines) if lines else None
            if self.mode is not Mode.LINES or line.strip().lower() in ALWAYS:
                return line
            lines.append(line)
            if line.rstrip().endswith("#"):
                return "\n".join(lines).rstrip().removesuffix("#")
