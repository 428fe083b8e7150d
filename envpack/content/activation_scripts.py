"""What a package's activation script sets, found out without running it.

Containers of Docker have variables that every program sees, but no script that every program is started
through. Most scripts in ``etc/conda/activate.d`` set a variable or two, if a folder exists or another
variable is not set: that much is evaluated here. A script that does more has to be run where it belongs, in
the container, and is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from envpack.content.shell_syntax import (
    NAME,
    Chain,
    Command,
    If,
    Not,
    Parameter,
    Simple,
    Text,
    UnsupportedError,
    Word,
    parse,
)
from envpack.entry import Kind

# What a container, a user or a shell sets when a program is started: not known when the image is built.
_NOT_YET_KNOWN = frozenset(
    {"HOME", "HOSTNAME", "IFS", "LOGNAME", "OLDPWD", "PPID", "PS1", "PWD", "RANDOM", "SHELL", "SHLVL"}
    | {"TERM", "TMPDIR", "UID", "USER", "BASH", "BASH_SOURCE", "BASH_VERSION", "ZSH_VERSION"}
)
_SPLIT_OR_MATCHED = frozenset(" \t\n*?[")
# Values can grow by being put together; what is longer sets no variable that anybody reads.
_LARGEST_VALUE = 1 << 12
_FILE_TESTS = {"-d": {Kind.DIRECTORY}, "-f": {Kind.FILE}, "-e": set(Kind), "-r": set(Kind)}


def evaluate(
    script: str, environment: Mapping[str, str], kind: Callable[[str], Kind | None]
) -> dict[str, str] | None:
    """The variables that ``script`` exports, when it is sourced with ``environment``, and that it changes.

    ``kind`` says what a path of the image is, links followed, and ``None`` where there is nothing. ``None``
    as the answer: the script does more than is evaluated here, or what it does depends on where it runs.
    """
    shell = _Shell(environment, kind)
    try:
        shell.run(parse(script))
        return shell.changes()
    except UnsupportedError:
        return None


class _Shell:
    """Variables while commands are run. A command's result is whether it succeeded."""

    def __init__(self, environment: Mapping[str, str], kind: Callable[[str], Kind | None]) -> None:
        self._given = environment
        self._values = dict(environment)
        self._exported = set(environment)
        self._kind = kind

    def changes(self) -> dict[str, str]:
        """What is exported now and was not so before; a variable that was there is there still."""
        exported = {n: v for n, v in sorted(self._values.items()) if n in self._exported}
        if any("\n" in value or "\0" in value for value in exported.values()):
            raise UnsupportedError("a value has line breaks")
        return {name: value for name, value in exported.items() if self._given.get(name) != value}

    def run(self, commands: Sequence[Command]) -> bool:
        """Run commands one after the other; the result of the last."""
        succeeded = True
        for command in commands:
            succeeded = self._one(command)
        return succeeded

    def _one(self, command: Command) -> bool:
        match command:
            case Simple(words):
                return self._simple(words)
            case Not(inner):
                return not self._one(inner)
            case Chain(first, rest):
                succeeded = self._one(first)
                for operator, following in rest:
                    if succeeded == (operator == "&&"):
                        succeeded = self._one(following)
                return succeeded
            case If(branches, otherwise):
                for condition, body in branches:
                    if self.run(condition):
                        return self.run(body)
                return self.run(otherwise)

    def _simple(self, words: tuple[Word, ...]) -> bool:
        name = words[0].bare
        if _assignment(words[0]):
            if len(words) > 1 and not all(_assignment(word) for word in words):
                raise UnsupportedError("it sets variables for one command")
            for word in words:
                self._assign(word)
            return True
        arguments = words[1:]
        match name:
            case "export":
                for word in arguments:
                    self._export(word)
                return True
            case "unset":
                for word in arguments:
                    self._unset(self._field(word))
                return True
            case ":" | "true":
                return True
            case "false":
                return False
            case "test":
                return self._test([self._field(word) for word in arguments])
            case "[":
                if not arguments or arguments[-1].bare != "]":
                    raise UnsupportedError("a condition does not end")
                return self._test([self._field(word) for word in arguments[:-1]])
            case "[[":
                if not arguments or arguments[-1].bare != "]]":
                    raise UnsupportedError("a condition does not end")
                return self._test([self._pattern(word) for word in arguments[:-1]])
        raise UnsupportedError(f"it runs {name!r}")

    def _assign(self, word: Word) -> str:
        name = _assignment(word)
        value = "".join(self._part(part) for part in word.parts)[len(name) + 1 :]
        if name in _NOT_YET_KNOWN or len(value) > _LARGEST_VALUE:
            raise UnsupportedError(f"it sets {name}")
        self._values[name] = value
        return name

    def _export(self, word: Word) -> None:
        if _assignment(word):
            self._field(word)  # shells disagree on whether the value is split: it must make no difference
            name = self._assign(word)
        else:
            name = self._field(word)
            if not NAME.fullmatch(name):
                raise UnsupportedError("it uses options of export")
        self._exported.add(name)

    def _unset(self, name: str) -> None:
        if not NAME.fullmatch(name) or name in self._given:
            raise UnsupportedError("it unsets what an image cannot be without")
        self._value(name)
        self._values.pop(name, None)
        self._exported.discard(name)

    def _field(self, word: Word) -> str:
        """The one argument that a word becomes; refuses words that might become none, or several."""
        text = "".join(self._part(part) for part in word.parts)
        unquoted = [part for part in word.parts if not part.quoted]
        vanishes = not text and any(isinstance(part, Parameter) for part in unquoted)
        is_bracket = word.bare in ("[", "]")
        if vanishes or any(_SPLIT_OR_MATCHED & set(self._part(p)) for p in unquoted if not is_bracket):
            raise UnsupportedError("it splits values, or looks for files by a pattern")
        return text

    def _pattern(self, word: Word) -> str:
        """A word of ``[[``: not split, but a pattern if it stands on the right."""
        for part in word.parts:
            if not part.quoted and set("*?[") & set(self._part(part)):
                raise UnsupportedError("it compares with a pattern")
        return "".join(self._part(part) for part in word.parts)

    def _part(self, part: Text | Parameter) -> str:
        if isinstance(part, Text):
            return part.text
        value = self._value(part.name)
        if not part.operator:
            return value or ""
        is_there = bool(value) if part.operator.startswith(":") else value is not None
        wants_value = part.operator.endswith("-")
        if is_there == wants_value:
            return value or "" if wants_value else ""
        return "".join(self._part(inner) for inner in part.word.parts)

    def _value(self, name: str) -> str | None:
        if name not in self._values and name in _NOT_YET_KNOWN:
            raise UnsupportedError(f"it depends on {name}")
        return self._values.get(name)

    def _test(self, arguments: list[str]) -> bool:
        match arguments:
            case []:
                return False
            case [text]:
                return bool(text)
            case ["!", *inner] if len(inner) < 4:
                return not self._test(inner)
            case ["-n", text]:
                return bool(text)
            case ["-z", text]:
                return not text
            case [operator, path] if operator in _FILE_TESTS:
                return self._is(path, _FILE_TESTS[operator])
            case [left, "=" | "==", right]:
                return left == right
            case [left, "!=", right]:
                return left != right
        raise UnsupportedError("it uses a condition that is not evaluated")

    def _is(self, path: str, kinds: set[Kind]) -> bool:
        if path and not path.startswith("/"):
            raise UnsupportedError("it depends on the folder in which a program is started")
        return bool(path) and self._kind(path) in kinds


def _assignment(word: Word) -> str:
    """The name that a word gives a value to; empty if it is no assignment."""
    text = ""
    for part in word.parts:
        if not isinstance(part, Text) or part.quoted:
            return ""
        if part.text == "=":
            return text if NAME.fullmatch(text) else ""
        text += part.text
    return ""
