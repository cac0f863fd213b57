"""From the options of ``deploy`` to a server that runs."""

from __future__ import annotations

import asyncio
import socket
import time
from dataclasses import dataclass
from pathlib import Path

from selfhood.engine.types import Host, Sampling
from selfhood.errors import FlagError, MissingError
from selfhood.model.base_hash import check_base
from selfhood.opening import Opening, voice_of
from selfhood.recipe import DeployOptions
from selfhood.serve.admission import Admission
from selfhood.serve.door import Door
from selfhood.serve.log import Log
from selfhood.serve.metrics import Metrics
from selfhood.serve.protocol import Terms
from selfhood.serve.server import Server, address_of, bind
from selfhood.serve.service import Service
from selfhood.serve.speakers import Speaker, Speakers


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """Everything but the engine: checked, and its port taken."""

    options: DeployOptions
    key: str | None
    speakers: tuple[Speaker, ...]
    model_path: Path
    root: Path | None
    listener: socket.socket

    @classmethod
    def prepare(cls, opening: Opening, options: DeployOptions, *, key: str | None) -> Serving:
        server = options.server
        for checkpoint in opening.checkpoints:
            check_base(checkpoint.path, opening.model_path)
        return cls(
            options=options,
            key=key,
            speakers=speakers_of(opening, options),
            model_path=opening.model_path,
            root=_root(server.adapters_root),
            listener=bind(server.host, server.port),
        )

    def run(self, host: Host, defaults: Sampling) -> None:
        """Until a signal ends it. ``defaults`` hold where a request says nothing."""
        asyncio.run(self._serve(host, defaults))
        host.close()

    async def _serve(self, host: Host, defaults: Sampling) -> None:
        service = self._service(host, defaults)
        server = Server(service, log_interval=self.options.server.log_interval)
        service.log.told(f"models   {', '.join(service.speakers.names)}")
        service.log.told(f"key      {'needed' if self.key else 'none: for this machine only'}")
        service.log.told(f"serving  {address_of(self.listener)}/v1")
        await server.serve([self.listener])

    def _service(self, host: Host, defaults: Sampling) -> Service:
        options = self.options.server
        admission = Admission(
            most_running=self.options.backend.max_num_seqs, most_waiting=options.max_queue
        )
        return Service(
            host=host,
            speakers=Speakers(host, self.speakers, model_path=self.model_path, root=self.root),
            terms=Terms(
                defaults=defaults,
                has_seed="seed" in self.options.given,
                most_tokens=options.max_reply_tokens,
                most_choices=options.max_choices,
                most_logprobs=options.max_logprobs,
            ),
            door=Door(self.key),
            admission=admission,
            metrics=Metrics(admission),
            log=Log(is_verbose=options.verbose),
            most_bytes=options.max_body_bytes,
            seconds=options.request_seconds,
            started=int(time.time()),
        )


def speakers_of(opening: Opening, options: DeployOptions) -> tuple[Speaker, ...]:
    """The base under its own name, then the adapters; what is typed holds for all of them."""
    typed = options.model

    def speaker(
        name: str, adapter: str | None, system: str | None, thinking: bool | None
    ) -> Speaker:
        return Speaker(
            name=name,
            adapter=adapter,
            system=system if typed.system is None else typed.system,
            thinking=thinking if typed.enable_thinking is None else typed.enable_thinking,
        )

    # With adapters on it the base is what it was before; alone it may have been trained itself.
    trained = None if opening.checkpoints else opening.trained
    base = options.server.served_model_name or base_name(opening)
    found = [speaker(base, None, *(voice_of(trained) if trained else (None, None)))]
    for name, checkpoint in zip(opening.names, opening.checkpoints, strict=True):
        found.append(speaker(name, name, *voice_of(checkpoint)))
    if base in opening.names:
        raise FlagError(
            f"the base is called {base} too", where="--adapters", hint="see --served_model_name"
        )
    return tuple(found)


def base_name(opening: Opening) -> str:
    """The last word of its reference: ``Qwen/Qwen2.5-7B-Instruct`` or a folder."""
    reference = opening.options.model or str(opening.model_path)
    return Path(reference.rpartition("::")[2]).name or opening.model_path.name


def _root(text: str | None) -> Path | None:
    if text is None:
        return None
    root = Path(text).expanduser()
    if not root.is_dir():
        raise MissingError("no such folder", where=text, hint="see --adapters_root")
    return root
