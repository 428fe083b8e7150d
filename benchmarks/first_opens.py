"""Runs ``PROGRAM`` and prints, as JSON, the files that python and the loader opened, in order of first use.

Runs in the image's own python. What was there before this began comes first: libraries, then modules.
"""

from __future__ import annotations

import json
import os
import sys


def main(program: str) -> list[str]:
    order: dict[str, None] = {}
    looking = False

    def note(path: object) -> None:
        if isinstance(path, str) and path.startswith("/"):
            order.setdefault(os.path.realpath(path))

    def note_libraries() -> None:
        with open("/proc/self/maps") as maps:  # noqa: PTH123 pathlib would be one more import
            for line in maps:
                note("".join(line.rstrip("\n").split(maxsplit=5)[5:]))

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        """``open``: sources, bytecode, data; ``import`` has the file of an extension module."""
        nonlocal looking
        if looking or event not in ("open", "import"):
            return
        looking = True
        note_libraries()  # that came with the last extension module
        note(arguments[0] if event == "open" else arguments[1])
        looking = False

    note_libraries()
    for module in list(sys.modules.values()):
        note(getattr(module, "__cached__", None) or getattr(module, "__file__", None))
    sys.addaudithook(hook)
    exec(program, {"__name__": "__main__"})
    looking = True
    note_libraries()
    return [path for path in order if os.path.isfile(path)]  # noqa: PTH113 likewise


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1])))
