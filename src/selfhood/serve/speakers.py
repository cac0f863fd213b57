"""Who can be asked, by the names that clients use; adapters come and go by name.

A name that a client gives is looked for among the entries of one folder and never made into a
path: ``..``, ``/`` and look-alikes are simply not there.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from selfhood.chat import Message
from selfhood.engine.types import Host
from selfhood.errors import InputError
from selfhood.model.adapters import WEIGHTS
from selfhood.model.base_hash import check_base
from selfhood.opening import is_name, voice_of
from selfhood.run import ADAPTER, ARGS, BASE, Checkpoint, find_checkpoint
from selfhood.serve.refusal import Refusal, invalid


@dataclass(frozen=True, slots=True, kw_only=True)
class Speaker:
    """Whoever answers: an adapter, or the base model (``adapter`` None), with the system line and
    the habit of thinking that it was taught."""

    name: str
    adapter: str | None = None
    system: str | None = None
    thinking: bool | None = None

    def addressed(self, messages: tuple[Message, ...]) -> tuple[Message, ...]:
        """The talk under this speaker's own system line, unless it brings one. An empty line is
        one that nobody wrote, so that the engine adds none that belongs to another speaker."""
        if messages[0].role == "system":
            return messages
        return (Message("system", self.system or ""), *messages)


class Speakers:
    """All of them, the base first. Loading and unloading may happen in any thread."""

    def __init__(
        self,
        host: Host,
        speakers: Sequence[Speaker],
        *,
        model_path: Path,
        root: Path | None = None,
    ) -> None:
        self._host = host
        self._model_path = model_path
        self._root = root
        self._known = {speaker.name: speaker for speaker in speakers}
        self._changing = threading.Lock()

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._known)

    @property
    def base(self) -> Speaker:
        return next(iter(self._known.values()))

    def find(self, name: str) -> Speaker:
        speaker = self._known.get(name)
        if speaker is None:
            raise Refusal(
                404, f"The model {name!r} does not exist.", param="model", code="model_not_found"
            )
        return speaker

    def load(self, name: str) -> None:
        """The adapter that lies under that name in the root."""
        with self._changing:
            if name in self._known:
                raise Refusal(409, f"{name!r} is there already.", param="lora_name")
            checkpoint = self._find_folder(name)
            try:
                check_base(checkpoint.path, self._model_path)
                self._host.add_speaker(name, checkpoint.path)
            except InputError as error:
                raise invalid(f"The adapter {name!r} {error.what}.", "lora_name") from error
            system, thinking = voice_of(checkpoint)
            self._known = {
                **self._known,
                name: Speaker(name=name, adapter=name, system=system, thinking=thinking),
            }

    def unload(self, name: str) -> None:
        """Nobody can ask for it any more; its replies under way are finished."""
        with self._changing:
            speaker = self.find(name)
            if speaker.adapter is None:
                raise invalid("The base model cannot be unloaded.", "lora_name")
            self._known = {key: each for key, each in self._known.items() if key != name}
            self._host.remove_speaker(speaker.adapter)

    def _find_folder(self, name: str) -> Checkpoint:
        if self._root is None:
            raise Refusal(403, "Nothing can be loaded: the server has no --adapters_root.")
        unknown = Refusal(
            404, "There is no adapter of that name.", param="lora_name", code="adapter_not_found"
        )
        entries = {entry.name for entry in self._root.iterdir()}
        if not is_name(name) or name not in entries:
            raise unknown
        try:
            checkpoint = find_checkpoint(str(self._root / name))
        except InputError as error:
            raise unknown from error
        self._check_is_inside(checkpoint)
        return checkpoint

    def _check_is_inside(self, checkpoint: Checkpoint) -> None:
        """No link leads out of the root."""
        assert self._root is not None
        root = self._root.resolve()
        inside = [checkpoint.path / name for name in (ADAPTER, WEIGHTS, ARGS, BASE)]
        for path in (checkpoint.path, *inside):
            if not path.resolve().is_relative_to(root):
                raise Refusal(403, "The adapter lies outside of the root.", param="lora_name")
