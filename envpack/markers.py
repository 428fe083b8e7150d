"""Conditions on requirements (PEP 508), of which Linux alone decides many.

Format: https://packaging.python.org/specifications/dependency-specifiers/#environment-markers.
"""

from __future__ import annotations

from collections.abc import Iterator

from packaging.markers import Marker, UndefinedComparison, UndefinedEnvironmentName

_PYTHONS = tuple(f"3.{minor}" for minor in range(6, 16))
_MACHINES = ("x86_64", "aarch64")


def on_linux(marker: Marker) -> bool | None:
    """Whether ``marker`` holds on Linux, whatever the python and the machine.

    ``None`` where these decide, and for a comparison that means nothing.
    """
    try:
        answers = {marker.evaluate(values) for values in _environments()}
    except (UndefinedComparison, UndefinedEnvironmentName):
        return None
    return answers.pop() if len(answers) == 1 else None


def _environments() -> Iterator[dict[str, str]]:
    for python in _PYTHONS:
        for machine in _MACHINES:
            yield {
                "os_name": "posix",
                "sys_platform": "linux",
                "platform_system": "Linux",
                "platform_machine": machine,
                "platform_release": "",
                "platform_version": "",
                "platform_python_implementation": "CPython",
                "implementation_name": "cpython",
                "implementation_version": f"{python}.0",
                "python_version": python,
                "python_full_version": f"{python}.0",
            }
