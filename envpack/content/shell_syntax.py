"""A small part of the shell's language, parsed: what most activation scripts of packages are written in.

    list      commands, separated by ``;`` or line ends
    command   NAME=WORD …  |  WORD …  |  ! command  |  command && command  |  command || command
              if list; then list; [elif list; then list;] … [else list;] fi
    WORD      text, 'text', "text", \\x, $NAME, ${NAME}, and ${NAME-WORD} with -, :-, + or :+

Everything else of the language is refused: loops, functions, substitutions of commands, redirections, braces.
Reference: IEEE 1003.1 (POSIX), "Shell Command Language".
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal as OneOf
from typing import Union

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_LARGEST = 1 << 14
_DEEPEST = 30
_REFUSED = frozenset("&|`()<>{}~\r\0")
_CONTINUED = "\\\n"
_OPERATORS = ("&&", "||", ";", "\n")
_RESERVED = frozenset(
    {
        "if",
        "then",
        "elif",
        "else",
        "fi",
        "for",
        "while",
        "until",
        "do",
        "done",
        "case",
        "esac",
        "in",
        "function",
    }
)
_EXPANSION = re.compile(r"\$(?:([A-Za-z_][A-Za-z0-9_]*)|\{([A-Za-z_][A-Za-z0-9_]*)(:?[-+])?)")


class UnsupportedError(Exception):
    """The script uses something that is not parsed, or not known before the container runs."""


@dataclass(frozen=True, slots=True)
class Text:
    """Characters as they are."""

    text: str
    quoted: bool


@dataclass(frozen=True, slots=True)
class Parameter:
    """The value of a variable; ``operator`` (-, :-, + or :+) says when ``word`` takes its place."""

    name: str
    operator: str
    word: Word
    quoted: bool


@dataclass(frozen=True, slots=True)
class Word:
    """What a shell makes one argument of, before it is expanded."""

    parts: tuple[Text | Parameter, ...]

    @property
    def bare(self) -> str:
        """The word if it is nothing but unquoted text; else empty."""
        found = [part.text for part in self.parts if isinstance(part, Text) and not part.quoted]
        return "".join(found) if len(found) == len(self.parts) else ""


@dataclass(frozen=True, slots=True)
class Simple:
    """Assignments or a command with its arguments."""

    words: tuple[Word, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """A command whose success is failure."""

    command: Command


@dataclass(frozen=True, slots=True)
class Chain:
    """Commands joined by ``&&`` and ``||``, which are of equal rank."""

    first: Command
    rest: tuple[tuple[OneOf["&&", "||"], Command], ...]


@dataclass(frozen=True, slots=True)
class If:
    """``branches`` of conditions and bodies, and the body of ``else``."""

    branches: tuple[tuple[tuple[Command, ...], tuple[Command, ...]], ...]
    otherwise: tuple[Command, ...]


Command = Union[Simple, Not, Chain, If]  # noqa: UP007  a forward reference at run time


def parse(script: str) -> tuple[Command, ...]:
    """The commands of a script; raises :class:`UnsupportedError`."""
    if len(script) > _LARGEST:
        raise UnsupportedError("it is too long")
    parser = _Parser(_tokens(script))
    commands = parser.commands(until=frozenset())
    if not parser.at_end:
        raise UnsupportedError("its blocks do not match")
    return commands


_Token = Union[str, Word]  # operators as text  # noqa: UP007


class _Parser:
    """Tokens into commands, by recursive descent."""

    def __init__(self, tokens: list[_Token]) -> None:
        self._tokens, self._position, self._depth = tokens, 0, 0

    @property
    def at_end(self) -> bool:
        return self._position == len(self._tokens)

    def commands(self, until: frozenset[str]) -> tuple[Command, ...]:
        """A list, up to one of the reserved words ``until``, which is left."""
        self._depth += 1
        if self._depth > _DEEPEST:
            raise UnsupportedError("its blocks are nested too deeply")
        found: list[Command] = []
        while not self.at_end:
            if self._tokens[self._position] in (";", "\n"):
                self._position += 1
            elif self._reserved() in until:
                break
            else:
                found.append(self._chain())
                if not self.at_end and self._tokens[self._position] not in (";", "\n"):
                    raise UnsupportedError("a command does not end")
        self._depth -= 1
        return tuple(found)

    def _reserved(self) -> str:
        """The reserved word that comes next, if one does."""
        token = None if self.at_end else self._tokens[self._position]
        bare = token.bare if isinstance(token, Word) else ""
        return bare if bare in _RESERVED else ""

    def _expect(self, *words: str) -> str:
        found = self._reserved()
        if found not in words:
            raise UnsupportedError(f"there is no {words[0]!r} where one belongs")
        self._position += 1
        return found

    def _chain(self) -> Command:
        first = self._negatable()
        rest: list[tuple[OneOf["&&", "||"], Command]] = []
        while not self.at_end:
            operator = self._tokens[self._position]
            if isinstance(operator, Word) or operator in (";", "\n"):
                break
            self._position += 1
            while not self.at_end and self._tokens[self._position] == "\n":
                self._position += 1
            rest.append(("&&" if operator == "&&" else "||", self._negatable()))
        return Chain(first, tuple(rest)) if rest else first

    def _negatable(self) -> Command:
        token = None if self.at_end else self._tokens[self._position]
        if isinstance(token, Word) and token.bare == "!":
            self._position += 1
            return Not(self._command())
        return self._command()

    def _command(self) -> Command:
        reserved = self._reserved()
        if reserved == "if":
            return self._if()
        if reserved:
            raise UnsupportedError(f"it uses {reserved!r}")
        words: list[Word] = []
        while not self.at_end:
            token = self._tokens[self._position]
            if not isinstance(token, Word):
                break
            words.append(token)
            self._position += 1
        if not words:
            raise UnsupportedError("a command is missing")
        return Simple(tuple(words))

    def _if(self) -> If:
        branches = []
        otherwise: tuple[Command, ...] = ()
        self._expect("if")
        while True:
            condition = self.commands(frozenset({"then"}))
            self._expect("then")
            branches.append((condition, self.commands(frozenset({"elif", "else", "fi"}))))
            following = self._expect("fi", "elif", "else")
            if following == "else":
                otherwise = self.commands(frozenset({"fi"}))
                following = self._expect("fi")
            if following == "fi":
                return If(tuple(branches), otherwise)


def _tokens(script: str) -> list[_Token]:
    found: list[_Token] = []
    position = 0
    while position < len(script):
        character = script[position]
        operator = next((op for op in _OPERATORS if script.startswith(op, position)), "")
        if character in " \t":
            position += 1
        elif script.startswith(_CONTINUED, position):
            position += 2
        elif operator:
            found.append(operator)
            position += len(operator)
        elif character == "#":
            end = script.find("\n", position)
            position = len(script) if end < 0 else end
        else:
            word, position = _word(script, position, " \t;\n", 0)
            found.append(word)
    return found


def _word(script: str, position: int, ends: str, depth: int, *, quoted: bool = False) -> tuple[Word, int]:
    """The word from ``position`` up to one of ``ends``, and where that is.

    ``quoted``: inside double quotes, where only ``$``, backslashes and the end mean anything.
    """
    if depth > _DEEPEST:
        raise UnsupportedError("its words are nested too deeply")
    parts: list[Text | Parameter] = []
    while position < len(script) and script[position] not in ends:
        character = script[position]
        if character == "\\":
            escaped = script[position + 1 : position + 2]
            if escaped == "\n":  # a continued line
                position += 2
            elif not escaped or (quoted and escaped not in '$`"\\'):
                parts.append(Text(character, True))
                position += 1
            else:
                parts.append(Text(escaped, True))
                position += 2
        elif character == "$":
            part, position = _parameter(script, position, depth, quoted=quoted)
            parts.append(part)
        elif quoted:
            if character in "`\0":
                raise UnsupportedError("it runs a command inside a text")
            parts.append(Text(character, True))
            position += 1
        elif character == "'":
            end = script.find("'", position + 1)
            if end < 0:
                raise UnsupportedError("a quote does not end")
            parts.append(Text(script[position + 1 : end], True))
            position = end + 1
        elif character == '"':
            inner, position = _word(script, position + 1, '"', depth + 1, quoted=True)
            if position == len(script):
                raise UnsupportedError("a quote does not end")
            parts += inner.parts or (Text("", True),)
            position += 1
        elif script.startswith(("&&", "||"), position):
            break
        elif character in _REFUSED:
            raise UnsupportedError(f"it uses {character!r}")
        else:
            parts.append(Text(character, False))
            position += 1
    return Word(tuple(parts)), position


def _parameter(script: str, position: int, depth: int, *, quoted: bool) -> tuple[Parameter, int]:
    match = _EXPANSION.match(script, position)
    if match is None:
        raise UnsupportedError("it uses '$' for more than variables")
    plain, braced, operator = match.groups()
    position = match.end()
    if plain:
        return Parameter(plain, "", Word(()), quoted), position
    word = Word(())
    if operator:
        # Quotes in there mean different things to different shells when there are quotes around it.
        word, position = _word(script, position, "}\"'" if quoted else "}", depth + 1, quoted=quoted)
    if script[position : position + 1] != "}":
        raise UnsupportedError("it uses '${' for more than values of variables")
    return Parameter(braced, operator or "", word, quoted), position + 1
