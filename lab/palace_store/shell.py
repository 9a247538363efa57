"""What the library's commands have in common: exit codes, how they refuse, the words for a model.

A command that cannot make sense of its words says so in one sentence on standard error and ends
with `USAGE`. Only what it was asked for goes to standard output. Nothing is imported here that an
environment may lack, so command lines can be looked at without chromadb.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path
from typing import NoReturn

from palace_store.errors import PalaceInputError

#: Exit codes: the palace was refused; there is none, or the words make no sense.
REFUSED, USAGE = 1, 2
NO_ROOM = 7  # the code of `palace-lab` for it
INTERRUPTED = 130
#: The stand-in model of a server, and the dimension of any, where no other is named.
MODEL, DIMENSION = "stand-in-a", 384
_FULL = ("database or disk is full", "No space left on device", "Disk quota exceeded")


class Parser(argparse.ArgumentParser):
    """A parser that refuses in one sentence."""

    def error(self, message: str) -> NoReturn:
        """End with what is wrong with the words."""
        self.exit(USAGE, f"{self.prog}: {message}; see {self.prog} --help\n")


def add_model(parser: argparse.ArgumentParser, *, required: bool) -> None:
    """Add the words that choose a stand-in model; what is not given is None."""
    default = "" if required else f"default: {MODEL}, "
    parser.add_argument("--model", required=required, help=f"{default}no real model")
    parser.add_argument("--dimension", type=int, help=f"default: {DIMENSION}")


def _texts(word: str) -> int:
    value = int(word)
    if value < 1:
        raise ValueError(word)
    return value


_texts.__name__ = "number of texts"  # how argparse calls it


def reset_parser() -> argparse.ArgumentParser:
    """Return what understands the command line of `reset_command`."""
    made = Parser(
        prog="python -m palace_store.embedding_reset",
        description="Embed the texts of a palace anew with another model, also while it is in use.",
    )
    made.add_argument("palace", metavar="PALACE", help="folder of a palace")
    add_model(made, required=True)
    made.add_argument(
        "--collection", action="append", metavar="NAME", help="may be repeated; default: all"
    )
    made.add_argument(
        "--batch", type=_texts, default=100, help="texts embedded at a time; default: %(default)s"
    )
    return made


def check_palace(palace: str) -> Path:
    """Return the folder of a palace that is there, so that none is made by opening it.

    Raises `PalaceInputError` for any other; no word at all does not mean the current folder.
    """
    if not palace or not (Path(palace) / "chroma.sqlite3").is_file():
        raise PalaceInputError(
            f"{palace or 'no word at all'} has no chroma.sqlite3: name the folder of a palace"
        )
    return Path(palace)


def let_the_library_speak() -> None:
    """Show what the library has to tell on standard error; of chromadb only what it raises."""
    said = logging.StreamHandler()
    said.setFormatter(logging.Formatter("%(message)s"))
    logging.getLogger("palace_store").addHandler(said)
    logging.getLogger().addHandler(logging.NullHandler())


def out_of_room(error: BaseException) -> bool:
    """Tell whether an error, or one it came from, is a disk or a quota that is full.

    chromadb hands on in words of its own what SQLite and the system told it.
    """
    each: BaseException | None = error
    while each is not None:
        if any(said in str(each) for said in _FULL):
            return True
        each = each.__cause__ or each.__context__
    return False


def beyond_help(palace: str, error: Exception) -> str:
    """Return the sentence for an error that comes from whichever chromadb this is."""
    sentence = " ".join(str(error).split())
    todo = "nothing more can be done here: put it back from a copy"
    if out_of_room(error):
        todo = "make room on its disk, then ask again"
    return (
        f"palace_store: chromadb does not go on from {palace} ({type(error).__name__}: "
        f"{sentence:.300}); {todo}"
    )
