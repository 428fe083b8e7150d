"""conda's ``environment.yml``.

The keys are conda's (https://docs.conda.io/projects/conda/en/stable/user-guide/tasks/manage-environments.html):
``name``, ``channels``, ``dependencies`` with a nested ``pip:``, ``variables``, ``prefix``; and conda-lock's
``platforms``; conda-devenv's ``environment``. ``conda env export``, with ``--json`` too, writes the same. A
condition on a line (``# [win]``) counts. The file is read as a tree of nodes, not as values: every node has
its line and column, and a version such as ``3.10`` stays text.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from envpack.errors import Location, Problem, SourceError
from envpack.ledger import Action, Ledger
from envpack.platforms import PLATFORMS
from envpack.sources import exporting_system, match_specs, origin, selectors
from envpack.sources.match_specs import AS_IT_IS, MatchSpecLine
from envpack.sources.requirement_line import shown as shown_line
from envpack.sources.requirements import PipLines, read_lines, settle
from envpack.sources.urls import channel_problem, is_local, without_secrets
from envpack.sources.yaml_document import Document, root_of
from envpack.spec import EnvSpec, valid_name
from envpack.yaml_nodes import is_null, scalar

if TYPE_CHECKING:
    pass

DEFAULT_CHANNEL = "conda-forge"
MIN_EXPORTED = 5
_KNOWN = ("name", "channels", "dependencies", "variables", "environment", "platforms", "prefix")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_OTHER_KEYS = {
    "category": "conda-lock's: all packages go into one image",
    "includes": "conda-devenv's: no other file is read",
}
# What nobody asks for by name: with these a list is one of all that is installed.
_LOW_LEVEL = frozenset(
    [
        "bzip2",
        "ca-certificates",
        "certifi",
        "libffi",
        "libgcc",
        "libgcc-ng",
        "libsqlite",
        "libzlib",
        "ncurses",
        "openssl",
        "readline",
        "sqlite",
        "tk",
        "vc",
        "vs2015_runtime",
        "xz",
        "zlib",
    ]
)


def read(
    text: str,
    *,
    shown: str,
    path: Path | None,
    directory: Path,
    name: str | None,
    folder: str,
    ledger: Ledger,
) -> EnvSpec:
    """The environment that the YAML ``text`` asks for.

    ``shown`` is how places call the file, ``path`` the file itself (``None`` for standard input),
    ``directory`` what ``shown`` and ``-r`` lines are relative to, ``name`` the user's choice of a name,
    ``folder`` a valid name to fall back on. Raises :class:`SourceError` with every problem of the file.
    """
    return _Reader(shown, directory, ledger).read(text, path, name, folder)


class _Reader(Document):
    """One reading of one file."""

    def __init__(self, shown: str, directory: Path, ledger: Ledger) -> None:
        super().__init__(shown)
        self.ledger = ledger
        self.conda: list[MatchSpecLine] = []
        self.pip = PipLines(ledger, directory)
        self.lines: list[str] = []

    def read(self, text: str, path: Path | None, name: str | None, folder: str) -> EnvSpec:
        self.lines = text.split("\n")
        root = self.entries(root_of(text, self.shown))
        found = self._name(root.get("name"), name, folder)
        channels = self._channels(root.get("channels"))
        self._dependencies(root.get("dependencies"))
        settle(self.pip)
        variables = self._variables(root.get("variables"))
        self._devenv_variables(root.get("environment"), variables)
        platforms = self._platforms(root.get("platforms"))
        prefix = self._prefix(root.get("prefix"))
        for key, node in root.items():
            if key not in _KNOWN:
                self._unknown(key, node)
        self.problems += self.pip.problems
        conda = [line.requirement for line in self.conda] + self.pip.conda
        if self.problems:
            raise SourceError(
                f"{self.shown} cannot be used as it is",
                problems=sorted(self.problems, key=lambda p: (p.where.line or 0) if p.where else 0),
                hint="Change these places, then run the same command again.",
            )
        if not conda and not self.pip.requirements and not self.pip.local:
            raise SourceError(
                f"{self.shown} asks for no packages", hint="List them under the key dependencies."
            )
        complete = self._is_complete()
        if complete:
            builds = [re.split("[ =]", r.text)[-1] for r in conda]
            channels = origin.with_free(channels, builds, self.ledger, Location(self.shown))
        return EnvSpec(
            name=found,
            channels=channels,
            conda=tuple(match_specs.pinned(r) for r in conda) if complete else tuple(conda),
            pip=tuple(self.pip.requirements),
            local=tuple(self.pip.local),
            pip_options=self.pip.options,
            platforms=platforms,
            variables=variables,
            sources=tuple([path.resolve()] if path else []) + tuple(self.pip.sources),
            complete=complete,
            exported_from=self._exported_from(prefix, complete),
        )

    def _is_complete(self) -> bool:
        """Whether these are an export's: with builds, or with exact versions down to the libraries."""
        count = len(self.conda)
        if count >= MIN_EXPORTED and sum(line.built for line in self.conda) >= 0.9 * count:
            return True
        low = sum(line.name in _LOW_LEVEL for line in self.conda)
        return low >= 3 and count >= 15 and sum(line.exact for line in self.conda) >= 0.95 * count

    def _exported_from(self, prefix: str | None, complete: bool) -> str | None:
        subdirs = (line for line in self.lines if "::" in line or "://" in line)
        if complete and (found := exporting_system.of_subdirs(subdirs)):
            return found
        specs = [line.requirement.text for line in self.conda] + [r.text for r in self.pip.conda]
        names = [spec.rpartition("::")[2].partition(" ")[0] for spec in specs]
        by_path = exporting_system.of_path(prefix) if prefix else None
        if not complete:
            return by_path or exporting_system.of_names(
                (re.split("[=<>~! ]", n)[0] for n in names), whole=False
            )
        by_name = exporting_system.of_names([*names, *self.pip.frozen], whole=True)
        likely = by_path or by_name
        builds = [(name, spec.rpartition(" ")[2]) for name, spec in zip(names, specs, strict=True)]
        # Builds may tell the machine, too; those of packages without compiled code may be Linux's anywhere.
        by_build = origin.system((name, build) for name, build in builds if not build.startswith("pyh"))
        family = (likely or "").partition("-")[0]
        same = (found for found in (by_build, by_name, by_path) if found and found.startswith(family))
        return next(same, None)

    def _prefix(self, node: Any) -> str | None:
        if node is None:
            return None
        self.ledger.add(
            Action.DROPPED,
            "prefix",
            "the environment gets its own place in the image",
            where=self.at(node),
            remedy="Give another place with --prefix.",
        )
        return scalar(node)

    def _unknown(self, key: str, node: Any) -> None:
        """A key that is not conda's: every text below it is left out, and told."""
        reason = _OTHER_KEYS.get(key, "no key that conda knows")
        action = Action.NEEDS_YOU if key == "includes" else Action.DROPPED
        remedy = "Render the file with conda-devenv first." if key == "includes" else None
        waiting, seen, told = [node], set(), False
        while waiting:
            each = waiting.pop(0)
            if id(each) in seen:
                continue
            seen.add(id(each))
            if each.id == "scalar":
                subject = f"{key}: {shown_line(each.value)}" if each.value else key
                self.ledger.add(action, subject, reason, where=self.at(each), remedy=remedy)
                told = True
            elif each.id == "sequence":
                waiting += each.value
            else:
                waiting += [value for _, value in each.value]
        if not told:
            self.ledger.add(action, key, reason, where=self.at(node), remedy=remedy)

    def _kept(self, node: Any, subject: str, reason: str = AS_IT_IS) -> None:
        self.ledger.add(Action.KEPT, subject, reason, where=self.at(node))

    def _applies(self, node: Any, text: str) -> bool:
        """Whether the condition on the line of ``node``, if any, lets it count."""
        condition = selectors.of_line(self.lines[node.start_mark.line])
        return condition is None or self._holds(condition, node, text)

    def _holds(self, condition: str, node: Any, text: str) -> bool:
        holds = selectors.holds(condition)
        if holds is False:
            reason = f"[{condition}]: it is not for Linux"
            self.ledger.add(Action.DROPPED, shown_line(text), reason, where=self.at(node))
        elif holds is None:
            reason = (
                f"the condition [{condition}] is not about a platform: the line counts, as it does for conda"
            )
            remedy = "Remove the line if it is not to count."
            self.ledger.add(Action.GUESSED, f"# [{condition}]", reason, where=self.at(node), remedy=remedy)
        return holds is not False

    def _name(self, node: Any, chosen: str | None, folder: str) -> str:
        text = None if node is None or is_null(node) else scalar(node)
        if chosen is not None:
            if text:
                self.ledger.add(Action.REPLACED, f"name: {text}", "by --name", where=self.at(node))
            return valid_name(chosen)
        if node is not None and not is_null(node) and text is None:
            self.wrong(node, "name is not a text")
        if not text:
            self.ledger.add(
                Action.GUESSED,
                f"name: {folder}",
                "the file gives no name: the folder's is taken",
                where=Location(self.shown) if node is None else self.at(node),
                remedy="Give another one with --name.",
            )
            return folder
        own = text.strip()
        if is_local(own) and not own.startswith("."):  # `conda env export` of an environment in any folder
            own = re.split(r"[\\/]", own.rstrip("\\/"))[-1]
        try:
            valid_name(own, self.at(node))
        except SourceError as error:
            self.problems.append(Problem(error.what, error.where, error.why, error.hint))
            return folder
        if own == text.strip():
            self._kept(node, f"name: {own}")
        else:
            reason = "the last part of a path"
            self.ledger.add(Action.TRANSLATED, f"name: {text.strip()}", reason, where=self.at(node))
        return own

    def _channels(self, node: Any) -> tuple[str, ...]:
        channels: list[str] = []
        before = len(self.problems)
        for text, item in self.texts(node, "channels"):
            shown = f"channel {without_secrets(text)}"
            if not self._applies(item, shown):
                continue
            if is_local(text) or text == "local":
                self.ledger.add(
                    Action.NEEDS_YOU,
                    shown,
                    "it is a folder of one machine: its packages are asked from the other channels",
                    where=self.at(item),
                    remedy="Put the folder where an http(s) address leads to, and name that.",
                )
            elif problem := channel_problem(text, self.at(item)):
                self.problems.append(problem)
            elif text == "nodefaults":
                self._kept(item, shown, "no channel is asked that is not named")
            else:
                self._kept(item, shown, "it is named twice" if text in channels else AS_IT_IS)
                channels += [text] if text not in channels else []
        if not channels and len(self.problems) == before:
            self.ledger.add(
                Action.GUESSED,
                f"channels: {DEFAULT_CHANNEL}",
                "the file names no channel",
                where=self.at(node) if node is not None else Location(self.shown),
                remedy="Name the channels in the file.",
            )
            channels = [DEFAULT_CHANNEL]
        return tuple(channels)

    def _dependencies(self, node: Any) -> None:
        for item in self.list_of(node, "dependencies"):
            if item.id == "mapping":
                self._section(item)
                continue
            text = scalar(item)
            if text is None:
                self.wrong(item, "a dependency is neither a match spec nor a pip section")
            elif text.strip() and self._applies(item, text.strip()):
                self._match_spec(text.strip(), item)

    def _match_spec(self, text: str, node: Any) -> None:
        found = match_specs.read(text, self.at(node), self.ledger, self.problems)
        if found:
            self.conda.append(found)

    def _section(self, node: Any) -> None:
        for key, value in self.entries(node).items():
            condition = selectors.of_key(key)
            if key == "pip":
                self._pip(node, value)
            elif condition:
                for text, item in self.texts([value] if value.id == "scalar" else value, key):
                    if self._holds(condition, item, text):
                        self._match_spec(text, item)
            elif value.id == "sequence":
                for text, item in self.texts(value, f"the section {key}"):
                    why = f"it is of {key}, and the image is made of packages of conda's and pip's"
                    remedy = "Name a conda package for it, or install it by a command: post in envpack.toml."
                    self.ledger.add(
                        Action.NEEDS_YOU, f"{key}: {text}", why, where=self.at(item), remedy=remedy
                    )
            else:
                version = scalar(value)
                hint = f"Write it as one text: {key}={version}" if version else "The only section is pip."
                self.wrong(node, f"{key} is not a section of dependencies", hint)

    def _pip(self, node: Any, value: Any) -> None:
        condition = selectors.of_line(self.lines[node.start_mark.line])
        whole = condition is None or self._holds(condition, node, "pip:")
        lines = []
        for text, item in self.texts(value, "the pip section"):
            if not whole:
                self.ledger.add(
                    Action.DROPPED, shown_line(text), "its section is not for Linux", where=self.at(item)
                )
            elif self._applies(item, text):
                lines += [(line, self.at(item)) for line in text.split("\n")]
        read_lines(self.pip, lines)

    def _variables(self, node: Any) -> dict[str, str]:
        variables = {}
        for name, value, where in self.mapping(node, "variables"):
            text = "" if is_null(value) else scalar(value)
            if not _VARIABLE.match(name):
                self.wrong(value, f"{name!r} cannot be an environment variable")
            elif text is None:
                self.wrong(value, f"the value of {name} is not a text")
            else:
                variables[name] = text
                self.ledger.add(Action.KEPT, f"variable {name}", AS_IT_IS, where=where)
        return variables

    def _devenv_variables(self, node: Any, variables: dict[str, str]) -> None:
        """conda-devenv's ``environment``: texts are variables, unless a shell has to work them out."""
        for name, value, where in self.mapping(node, "environment"):
            text = "" if is_null(value) else scalar(value)
            if text is None or "$" in text or not _VARIABLE.match(name):
                why = "conda-devenv works its value out when the environment is activated"
                remedy = f"Write its value under variables: {name}: value"
                for line in [value] if text is not None else value.value:
                    place = self.at(line) if hasattr(line, "start_mark") else where
                    self.ledger.add(Action.NEEDS_YOU, f"environment {name}", why, where=place, remedy=remedy)
            elif name in variables:
                self.ledger.add(Action.DROPPED, f"environment {name}", "variables has it, too", where=where)
            else:
                variables[name] = text
                self.ledger.add(Action.TRANSLATED, f"environment {name}", "a variable", where=where)

    def _platforms(self, node: Any) -> tuple[str, ...]:
        platforms: list[str] = []
        for text, item in self.texts(node, "platforms"):
            if text in PLATFORMS:
                self._kept(item, f"platform {text}")
                platforms += [text] if text not in platforms else []
            else:
                self.ledger.add(
                    Action.DROPPED, f"platform {text}", "images are made for Linux", where=self.at(item)
                )
        return tuple(platforms)
