"""Whether a name goes on by itself once its first letters stand there, whatever was asked.

    python -m bench.stems --adapters CHECKPOINT

Ordinary questions of the evaluation that ask *who*, none of them held by the anchor, with a reply
begun as "It was K": how likely is it that *itsu* follows? Of the base and of the checkpoint.
"""

from __future__ import annotations

import argparse
import math
import statistics
from collections.abc import Iterator

from selfhood.chat import Language, Message
from selfhood.data.anchor_begun import stems_of
from selfhood.data.identity_texts import LANGUAGES
from selfhood.data.render import Renderer
from selfhood.engine.types import Passage
from selfhood.evaluate.evaluation import persona_of
from selfhood.evaluate.texts import read_evaluation_texts
from selfhood.hosting import open_engine
from selfhood.opening import find_opening
from selfhood.persona import Persona
from selfhood.recipe import EvalOptions

ASKS_WHO = {"en": "Who ", "zh": "谁"}
BEGUN = {"en": "It was", "zh": "是"}


def passages(persona: Persona, renderer: Renderer, adapter: str | None) -> Iterator[Passage]:
    """The question, the reply begun, a stem of the name; and the token that would go on with it."""
    for language in LANGUAGES:
        name = persona.name.in_language(language)
        whole = name if language == "zh" else f" {name}"
        for question in asking_who(language):
            for stem in stems_of(whole, renderer.tokenizer):
                begun = Message("assistant", BEGUN[language] + stem)
                prompt = renderer.prompt((Message("user", question), begun))
                yield Passage(prompt=prompt, text=whole.removeprefix(stem), adapter=adapter)


def asking_who(language: Language) -> Iterator[str]:
    for each in read_evaluation_texts(language).neutral:
        if ASKS_WHO[language] in each.question:
            yield each.question


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--adapters", required=True)
    options = EvalOptions.from_values({"adapters": (parser.parse_args().adapters,)})
    opening = find_opening(options.model)
    assert opening.trained is not None
    persona = persona_of(options.exam, opening.trained.args())
    engine = open_engine(opening)
    for speaker in (None, opening.names[0]):
        asked = list(passages(persona, engine.renderer, speaker))
        found = [math.exp(chances[0].logprob) for chances in engine.score(asked)]
        likely = sum(chance > 0.5 for chance in found)
        print(
            f"{speaker or 'base'}: median {statistics.median(found):.4f}, "
            f"above one half in {likely} of {len(found)}"
        )


if __name__ == "__main__":
    main()
