"""The command line as a user runs it, a process of its own, and what is expected of one that fails."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

Done = subprocess.CompletedProcess[str]

# Permissions bind root only without these: a test of them holds for every user.
_NOT_ALMIGHTY = "-dac_override,-dac_read_search,-fowner"
WITHOUT_PRIVILEGES = (
    []
    if os.geteuid()
    else ["setpriv", f"--bounding-set={_NOT_ALMIGHTY}", f"--inh-caps={_NOT_ALMIGHTY}", "--"]
)
COMMAND = (sys.executable, "-m", "envpack")


def envpack(
    *arguments: str,
    config: Path,
    cwd: Path,
    check: bool = True,
    command: Sequence[str] = COMMAND,
    text: str | None = None,
    **variables: str,
) -> Done:
    """Run the command line to its end; ``text`` is its standard input, ``command`` what comes before it."""
    done = subprocess.run(
        [*command, *arguments], cwd=cwd, env=environment(config, **variables), capture_output=True,
        input=text or "", text=True, timeout=600, check=False,
    )  # fmt: skip
    if check:
        assert done.returncode == 0, done.stdout + done.stderr
    return done


def start(
    *arguments: str, config: Path, cwd: Path, command: Sequence[str] = COMMAND, **variables: str
) -> subprocess.Popen[str]:
    """Start the command line in a process group of its own, as a shell does."""
    return subprocess.Popen(
        [*command, *arguments], cwd=cwd, env=environment(config, **variables), text=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip


def environment(config: Path, **variables: str) -> dict[str, str]:
    """This process's environment, with a configuration."""
    return {**os.environ, "ENVPACK_CONFIG": str(config), **variables}


def with_prelude(code: str) -> tuple[str, ...]:
    """A ``command`` that runs some Python in envpack's own process first."""
    return (sys.executable, "-c", f"{code}\nfrom envpack.cli import main\nmain()\n")


def failed(done: Done, code: int, *words: str, action: bool = True) -> str:
    """Check that a run failed as it should; gives its whole message.

    It ends with ``code``; it says what happened in one sentence and, if ``action``, what to do; ``words``
    are in the message; there is no traceback and nothing on standard output.
    """
    said = done.stderr
    assert done.returncode == code, done.stdout + said
    assert "Traceback" not in said
    assert done.stdout == ""
    (sentence,) = (line for line in said.splitlines() if line.startswith("error: "))
    message = said[said.index(sentence) :]
    assert not sentence.endswith("."), sentence
    if action:
        assert "  do: " in message, message
    for word in words:
        assert word in message, message
    return message


def error(done: Done, code: int, kind: str) -> dict[str, object]:
    """The error of a failed run with ``--json``."""
    assert "Traceback" not in done.stderr
    document = json.loads(done.stdout)
    assert set(document) <= {"error", "findings"}
    found: dict[str, object] = document["error"]
    assert done.returncode == found["exit_code"] == code, done.stdout
    assert found["kind"] == kind
    assert found["what"]
    return found


@contextmanager
def nothing_written(*folders: Path) -> Iterator[None]:
    """Check that every file and folder below ``folders`` is afterwards what it was before."""
    before = [_state(folder) for folder in folders]
    yield
    assert [_state(folder) for folder in folders] == before


def leftovers(*folders: Path) -> list[Path]:
    """What an interrupted run must not leave behind: half-written and temporary files."""
    found = [path for folder in folders for path in folder.rglob("*")]
    return [p for p in found if p.name.endswith(".partial") or p.parent.name == "tmp"]


def _state(folder: Path) -> dict[str, bytes | str | None]:
    state: dict[str, bytes | str | None] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_symlink():
            state[name] = str(path.readlink())
        else:
            state[name] = path.read_bytes() if path.is_file() else None
    return state
