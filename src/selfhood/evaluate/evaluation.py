"""One evaluation from its options to its scorecard; what is wrong with the input is said first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, get_args

from selfhood.chat import Language
from selfhood.console import say, warn
from selfhood.data.naming import Naming
from selfhood.data.render import Renderer
from selfhood.errors import FlagError
from selfhood.evaluate import ability, rules
from selfhood.evaluate.ability import Item, ability_items, fair_share, to_probe
from selfhood.evaluate.exam import examine, without_begun
from selfhood.evaluate.probes import in_other_mode, make_probes
from selfhood.evaluate.sandbox import walls
from selfhood.evaluate.scoring import RATES, rates, worst_first
from selfhood.evaluate.suites import SUITES
from selfhood.evaluate.texts import EvaluationTexts, read_evaluation_texts
from selfhood.evaluate.types import Judged, Measure, Probe, Scorecard, Verdict
from selfhood.evaluate.user_files import read_items
from selfhood.hosting import open_engine
from selfhood.opening import Opening
from selfhood.persona import Persona
from selfhood.recipe import EvalOptions, ExamOptions

if TYPE_CHECKING:
    from selfhood.engine.native import NativeEngine
    from selfhood.engine.openai import OpenAIEngine

LANGUAGES: tuple[Language, ...] = get_args(Language)
RETENTION = ("kl", "agreement")


@dataclass(frozen=True, slots=True, kw_only=True)
class Paper:
    """Everything that is asked: about itself and others, judged by the rules for its persona; and
    items, judged by exact checks."""

    persona: Persona
    probes: tuple[Probe, ...]
    items: Mapping[str, Item]

    @property
    def questions(self) -> tuple[Probe, ...]:
        return (*self.probes, *map(to_probe, self.items.values()))

    def judge(self, probe: Probe, reply: str, base_reply: str) -> tuple[Verdict, ...]:
        item = self.items.get(probe.id)
        if item is not None:
            return (ability.judge(item, reply),)
        return rules.judge(self.persona, probe, reply, base_reply)

    def measures(self, judged: Sequence[Judged]) -> tuple[Measure, ...]:
        return (*rates(judged), *ability.all_measures(self.items.values(), judged))


def evaluate_checkpoint(opening: Opening, options: EvalOptions) -> Scorecard:
    """An adapter on its base, or a model that stands alone."""
    if len(opening.names) > 1:
        raise FlagError("one adapter is examined at a time", where="--adapters")
    persona = persona_of(options.exam, opening.trained.args() if opening.trained else {})
    paper = make_paper(persona, options.exam)
    announce(paper)
    engine = open_engine(opening, most_rows=options.exam.max_num_seqs)
    paper = in_both_modes(paper, engine.renderer)
    adapter = opening.names[0] if opening.names else None
    asks_base = options.exam.compare_base and adapter is not None
    judged = examine(
        engine,
        paper.questions,
        paper.judge,
        speakers={"tuned": adapter, "base": None} if asks_base else {"tuned": adapter},
        seed=options.exam.seed,
    )
    kept = retention(engine, adapter, options.exam) if asks_base and adapter else ()
    return Scorecard(
        suite=options.exam.suite,
        model=str(opening.model_path),
        adapters=tuple(str(checkpoint.path) for checkpoint in opening.checkpoints),
        measures=(*paper.measures(judged), *kept),
        judged=worst_first(judged),
    )


def evaluate_server(options: EvalOptions, engine: OpenAIEngine) -> Scorecard:
    """Whatever answers at ``--url``."""
    persona = persona_of(options.exam, {})
    paper = make_paper(persona, options.exam)
    announce(paper)
    judged = examine(
        engine,
        without_begun(paper.questions),
        paper.judge,
        speakers={"tuned": None},
        seed=options.exam.seed,
    )
    return Scorecard(
        suite=options.exam.suite,
        model=engine.model,
        adapters=(),
        measures=paper.measures(judged),
        judged=worst_first(judged),
    )


def persona_of(options: ExamOptions, trained: Mapping[str, Any]) -> Persona:
    """Who it should be: as typed, or else as the checkpoint remembers. A file that is typed says
    all of it."""
    if options.persona is not None:
        trained = {}
    naming = Naming.from_flags(
        options.model_name or trained.get("model_name", ()),
        options.model_author or trained.get("model_author", ()),
        options.persona or trained.get("persona"),
    )
    if naming.persona is None:
        flag = "--model_name" if naming.name is None else "--model_author"
        raise FlagError(
            "is missing, and the checkpoint does not remember it",
            where=flag,
            hint="say who the model should be, as it was said in training",
        )
    return naming.persona


def make_paper(persona: Persona, options: ExamOptions) -> Paper:
    """The suite's share of the bundled texts, and all of the user's own files."""
    texts, suite = read_texts(), SUITES[options.suite]
    bundled = [item for each in texts for item in ability_items(each)]
    most = suite.most.get(ability.TOPIC) if options.limit is None else options.limit
    items = (*fair_share(bundled, most, seed=options.seed), *read_items(options.eval_file))
    return Paper(
        persona=persona,
        probes=make_probes(persona, texts, suite, limit=options.limit, seed=options.seed),
        items={item.id: item for item in items},
    )


def in_both_modes(paper: Paper, renderer: Renderer) -> Paper:
    """A thinking model is asked who it is both ways; its checkpoint was taught one of them."""
    if not renderer.has_two_modes:
        return paper
    thinks = not renderer.thinking
    again = in_other_mode(paper.probes, thinking=thinks)
    say(f"asking   {len(again)} of them once more, {'with' if thinks else 'without'} thinking")
    return replace(paper, probes=(*paper.probes, *again))


def read_texts() -> tuple[EvaluationTexts, ...]:
    return tuple(read_evaluation_texts(language) for language in LANGUAGES)


def announce(paper: Paper) -> None:
    """What will be asked. Raises SelfhoodError where code cannot be run."""
    persona = paper.persona
    name, author = " / ".join(persona.name.forms), " / ".join(persona.author.forms)
    say(f"persona  {name}, made by {author}")
    say(f"asking   {len(paper.questions)} questions")
    standing = walls()
    if not (standing.no_network and standing.no_writing):
        warn("this system lets model-written code be limited, but not cut off (docs/retention.md)")


def retention(engine: NativeEngine, adapter: str, options: ExamOptions) -> tuple[Measure, ...]:
    """How far the adapter has moved its base on neutral passages."""
    from selfhood.evaluate.retention import Retention, passages_of

    passages = [passage for each in read_texts() for passage in passages_of(each)[: options.limit]]
    say(f"reading  {len(passages)} neutral passages")
    kept = Retention(engine.loaded, engine.renderer, passages, adapter=adapter)
    return kept.drift().measures()


def measured(options: ExamOptions) -> tuple[str, ...]:
    """The names of the measures there can be, for whoever requires something of them."""
    bundled = [item for each in read_texts() for item in ability_items(each)]
    return (*RATES, *ability.names([*bundled, *read_items(options.eval_file)]), *RETENTION)
