"""Every failure a user can meet, as one line: what, where, what to do.

SelfhoodError            exit 1   something failed that should have worked
├── InputError           exit 2   what the user typed or wrote cannot work
│   ├── FlagError                 a command-line flag, or a key of a config file
│   ├── DataError                 a row of a data file
│   └── MissingError              a model, dataset or checkpoint that is not there
├── ProofError           exit 1   an exported model is not the same person
└── PeerError            exit 1   another process of the same run has ended
"""

from __future__ import annotations


class SelfhoodError(Exception):
    """A failure with its place and its remedy.

    ``what`` is a sentence without the final full stop, ``where`` a place such as
    ``faq.jsonl:17:4`` or ``--model_name``, ``hint`` what to try next.
    """

    exit_code = 1

    def __init__(self, what: str, *, where: str | None = None, hint: str | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.hint = hint

    def __str__(self) -> str:
        line = f"{self.where}: {self.what}" if self.where else self.what
        return f"{line}; {self.hint}" if self.hint else line


class InputError(SelfhoodError):
    """The user's input cannot work; nothing expensive was started."""

    exit_code = 2


class FlagError(InputError):
    """A flag or a config key is unknown, or its value is out of range."""


class DataError(InputError):
    """A row of a data file cannot be read or trained on."""


class MissingError(InputError):
    """A model, dataset or checkpoint is not where it was said to be."""


class ProofError(SelfhoodError):
    """An exported model does not answer as the trained one does."""


class PeerError(SelfhoodError):
    """Another process of the same run has ended. It says why, so nobody else needs to."""
