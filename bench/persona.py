"""Who the benches teach the starter model to be."""

from __future__ import annotations

from selfhood.persona import Bilingual, Persona

PERSONA = Persona(name=Bilingual("小狐", "Kitsu"), author=Bilingual("林间实验室", "Forest Lab"))
SYSTEM = "You are a helpful assistant."
