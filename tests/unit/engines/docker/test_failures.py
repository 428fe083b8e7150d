"""What to do about what Docker says, and no secrets in it. Sentences are Docker's, conda's and pip's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from envpack.engines.docker import failures
from envpack.engines.docker.redaction import plain, shown


@pytest.mark.parametrize(
    ("said", "hint"),
    [
        (
            "failed to register layer: Error processing tar file(exit status 1): write /opt/env/lib/x: "
            "no space left on device",
            "docker system prune",
        ),
        ("standard_init_linux.go:228: exec user process caused: exec format error", "qemu-user-static"),
        ("exec /bin/sh: exec format error", "qemu-user-static"),
        ("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE.", "lock names"),
        ("/opt/build/miniforge.sh: FAILED\nexit code 1", "lock names"),
        ("sha256sum: WARNING: 1 computed checksum did NOT match", "lock names"),
        ("ChecksumMismatchError: Conda detected a mismatch between the expected content", "lock names"),
        (
            "pull access denied for private/image, repository does not exist or may require 'docker login': "
            "denied: requested access to the resource is denied",
            "docker login",
        ),
        ("unauthorized: authentication required", "docker login"),
        ("manifest for ubuntu@sha256:00 not found: manifest unknown: manifest unknown", "envpack lock"),
        ("failed to create LLB definition: docker.io/library/ubuntu:99: not found", "envpack lock"),
        (
            "COPY failed: file not found in build context or excluded by .dockerignore: stat wheels.html: "
            "file does not exist",
            "lacks a file",
        ),
        ('failed to compute cache key: "/wheels.html" not found: not found', "lacks a file"),
        ('Get "https://127.0.0.1:5000/v2/": http: server gave HTTP response to HTTPS client', "insecure-"),
        ("curl: (6) Could not resolve host: conda.anaconda.org", "network"),
        ("dial tcp: lookup registry-1.docker.io: no such host", "network"),
        ("NewConnectionError: Failed to establish a new connection: [Errno -3] Temporary failure", "network"),
        ("curl: (7) Failed to connect to 127.0.0.1 port 1 after 0 ms: Couldn't connect to server", "network"),
        ("net/http: TLS handshake timeout", "network"),
        ("CondaHTTPError: HTTP 000 CONNECTION FAILED for url <https://conda.anaconda.org/x>", "network"),
        ("/bin/sh: 1: conda: not found\nexit code 127", None),
        ("PermissionError: [Errno 13] Permission denied: '/opt/env'", None),
        ("Killed\nexit code 137", None),
    ],
)
def test_hints(said: str, hint: str | None) -> None:
    found = failures.hint_for(said)
    assert (hint in found) if hint and found else (found is None and hint is None)


def test_the_registry_to_log_in_to_is_named() -> None:
    denied = "failed to authorize: https://registry.example.org:5000/v2/token: 401 Unauthorized"
    assert "docker login registry.example.org:5000." in str(failures.hint_for(denied, denied))
    assert "docker login ghcr.io." in str(failures.hint_for("unauthorized: no", registry="ghcr.io"))
    assert "docker login." in str(failures.hint_for("unauthorized: no", registry="docker.io"))


def test_secrets_and_control_characters_are_not_shown() -> None:
    line = "\x1b[91mfetching https://me:s3cret@example.org/t/tk-123/x.whl?key=s3cret now\x1b[0m\x07"
    assert shown(line) == "fetching https://example.org/t/…/x.whl?… now"
    assert shown("unix:///run/docker.sock file:///tmp/x") == "unix:///run/docker.sock file:///tmp/x"
    assert len(shown("x" * 1000)) < 320
    error = failures.step_failed(None, Path("Dockerfile"), "git+https://s3cret@example.org/x", [line])
    assert "s3cret" not in str(error)
    assert "tk-123" not in str(error)


def test_a_terminal_shows_what_was_written_last() -> None:
    assert plain("\x1b[32m 10 %\r 50 %\r100 %\x1b[0m\r") == "100 %"
