"""The image configuration: a base image's, with layers on top (OCI image specification, config.md).

    {"architecture": …, "os": "linux", "variant": …, "created": DATE,
     "config": {"Env": ["NAME=VALUE", …], "Entrypoint": […], "Cmd": […], "Labels": {…}, …},
     "rootfs": {"type": "layers", "diff_ids": ["sha256:…", …]},
     "history": [{"created": DATE, "created_by": …, "empty_layer": true, …}, …]}

History has as many entries without ``empty_layer`` as there are layers, or readers refuse the image.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

from envpack.formats.oci.layer import Layer

MEDIA_TYPE = "application/vnd.oci.image.config.v1+json"
# What a base hands down, as it does in a Dockerfile; its entry point and command it does not.
_PLATFORM = ("architecture", "os", "os.version", "os.features", "variant")
_SETTINGS = ("User", "ExposedPorts", "Volumes", "WorkingDir", "StopSignal", "Healthcheck", "Shell")


@dataclass(frozen=True, slots=True)
class Settings:
    """What the image adds to its base's settings; ``variables`` and ``labels`` replace those it has."""

    entrypoint: Sequence[str]
    command: Sequence[str] = ()
    variables: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)


def render(base: Mapping[str, Any], layers: Sequence[Layer], settings: Settings, epoch: int) -> bytes:
    """The configuration of ``base`` (one that was checked) with ``layers`` on top; ``epoch`` is its date."""
    created = date(epoch)
    inherited = base.get("config") or {}
    variables = base_variables(base) | dict(settings.variables)
    labels = {**(inherited.get("Labels") or {}), **settings.labels}
    config: dict[str, Any] = {key: inherited[key] for key in _SETTINGS if inherited.get(key)}
    config["Env"] = [f"{name}={value}" for name, value in variables.items()]
    config["Entrypoint"] = list(settings.entrypoint)
    if settings.command:
        config["Cmd"] = list(settings.command)
    config["Labels"] = labels
    below = base["rootfs"]["diff_ids"]
    history = _history(base, len(below), created)
    history += [{"created": created, "created_by": layer.title} for layer in layers]
    return document(
        {
            **{key: base[key] for key in _PLATFORM if key in base},
            "created": created,
            "config": config,
            "rootfs": {"type": "layers", "diff_ids": [*below, *(str(layer.diff_id) for layer in layers)]},
            "history": history,
        }
    )


def base_variables(base: Mapping[str, Any]) -> dict[str, str]:
    """``config.Env`` of an image's configuration, in its order."""
    listed = (base.get("config") or {}).get("Env") or []
    return dict(item.split("=", 1) for item in listed if isinstance(item, str) and "=" in item)


def date(epoch: int) -> str:
    """Seconds since 1970 as RFC 3339 has them."""
    return datetime.fromtimestamp(epoch, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def document(value: object) -> bytes:
    """JSON in its one canonical form here: keys sorted, no white space, UTF-8."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def _history(base: Mapping[str, Any], layers: int, created: str) -> list[Any]:
    """The base's history if it fits its layers; it is optional, and some tools leave it out."""
    found = base.get("history")
    if (
        isinstance(found, list)
        and all(isinstance(item, dict) for item in found)
        and sum(not item.get("empty_layer") for item in found) == layers
    ):
        return found.copy()
    return [{"created": created, "created_by": "base image"}] * layers
