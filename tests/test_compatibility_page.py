"""docs/compatibility.md says what the tables of ``cli.compat`` say.

To write it anew: python -m tests.test_compatibility_page
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from selfhood.cli.compat import ALIASES, NO_EFFECT, STAND_INS, UNSUPPORTED, VALUES

PAGE = Path(__file__).parent.parent / "docs" / "compatibility.md"
INTRODUCTION = """\
# Compatibility with ms-swift's command line

Flags may be written with `_` or `-`, as `--flag value` or `--flag=value`, and cut short while they stay
unique. A config file (`.yaml`, `.json`, `.toml`) may come first or after `--config`; what is typed wins.
Commands pasted from a web page work with their stray `\\` marks. One thing no program can mend: after
`CUDA_VISIBLE_DEVICES=0 \\ swift ...` on a single line the shell looks for a command called ` swift`;
delete the backslash.

Where this tool differs on purpose:

- `--train_type`/`--tuner_type`: `lora`, `full`, `prefix-tuning`, `p-tuning`, `prompt-tuning`. LoRA's
  dropout is 0 by default (ms-swift: 0.05), so that packing is exact; with dropout it is in the mean.
- `sft --adapters` takes everything that shapes the weights from the checkpoint; a flag that says
  otherwise is an error.
- `--strict` is true by default: a bad row stops the run, with its line. `--strict false` skips and counts.
- The first update of a warm-up has a rate above zero.
- `--torch_dtype bfloat16` on a CPU without bfloat16 units computes in float32, and says so.
- Training stops at the end mark; the line break after it in ChatML is not trained.
- `--model_name`/`--model_author` act on every dataset that holds `{{NAME}}` or `{{AUTHOR}}` and on
  `identity`. Where neither is there the run stops, unless your own rows answer who the model is:
  then they win, and you are told.
- `best_model_checkpoint` falls back to the last one where nothing was validated.
- `deploy` listens on 127.0.0.1 (ms-swift: 0.0.0.0, without a key), answers a wrong key with 401 (there: 400), and
  stops where its port is taken (there: takes the next one). Adapters without a name are called as their folder.
- A web page is not there yet.
"""


def page() -> str:
    return "\n".join(
        [
            INTRODUCTION,
            "## Other names\n",
            *(
                f"- `--{name}`: {', '.join(f'`--{old}`' for old in olds)}"
                for name, olds in _names()
            ),
            "\n## Other values\n",
            *(f"- `--{name}`: {_values(values)}" for name, values in VALUES.items()),
            *(
                f"- `--{name} {value}`: {note}"
                for name, notes in STAND_INS.items()
                for value, note in notes.items()
            ),
            "\n## Taken, but without effect here; you are told\n",
            *(f"- `--{name}`: {reason}" for name, reason in NO_EFFECT.items()),
            "\n## Refused, because it would change the result\n",
            *(
                f"- `--{name}`" + (f": {entry.hint}" if entry.hint else "")
                for name, entry in UNSUPPORTED.items()
            ),
            "",
        ]
    )


def _names() -> list[tuple[str, list[str]]]:
    names: dict[str, list[str]] = defaultdict(list)
    for old, name in ALIASES.items():
        names[name].append(old)
    return list(names.items())


def _values(values: object) -> str:
    assert isinstance(values, dict)
    return ", ".join(f"`{old}` means `{new}`" for old, new in values.items() if new != "None")


def test_the_compatibility_page_tells_what_the_tables_say() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "python -m tests.test_compatibility_page"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
