"""The distribution API over the wire: tags, indexes, tokens, logins, lies."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest

from envpack import platforms
from envpack.bases.manifest import INDEXES, MANIFESTS
from envpack.bases.registry import Registry
from envpack.cache import Cache
from envpack.config import Credential
from envpack.download import Downloader
from envpack.errors import BaseImageError, ConfigError, IntegrityError, NetworkError
from envpack.image import Reference, parse_reference
from tests.standins import scripted
from tests.standins.scripted import Asked, Reply, Scripted
from tests.unit.conftest import Told

Make = Callable[..., Downloader]
AMD64, ARM64 = platforms.get("linux-64"), platforms.get("linux-aarch64")
LAYERS = (b"the lowest layer " * 1000, b"the layer above " * 1000)


def digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def described(data: bytes, media_type: str, **extra: object) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": digest(data), "size": len(data), **extra}


class Image:
    """An image put on a scripted server, for one architecture, and an index over it."""

    def __init__(self, server: Scripted, architecture: str = "amd64", repository: str = "team/base") -> None:
        self.server = server
        self.repository = repository
        self.scripts: dict[str, scripted.Script] = {}
        ids = [digest(layer) for layer in LAYERS]
        self.config = json.dumps(
            {"os": "linux", "architecture": architecture, "rootfs": {"type": "layers", "diff_ids": ids}}
        ).encode()
        self.manifest = json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": MANIFESTS[0],
                "config": described(self.config, "application/vnd.oci.image.config.v1+json"),
                "layers": [described(data, "application/vnd.oci.image.layer.v1.tar+gzip") for data in LAYERS],
            }
        ).encode()
        platform = {"os": "linux", "architecture": architecture}
        self.index = json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": INDEXES[0],
                "manifests": [described(self.manifest, MANIFESTS[0], platform=platform)],
            }
        ).encode()
        self.on("manifests/one", Reply(200, self.manifest))
        self.on("manifests/many", Reply(200, self.index))
        self.on(f"manifests/{digest(self.manifest)}", Reply(200, self.manifest))
        self.on(f"blobs/{digest(self.config)}", scripted.file(self.config))
        for data in LAYERS:
            self.on(f"blobs/{digest(data)}", scripted.file(data))

    def on(self, what: str, *replies: scripted.Script) -> None:
        path = f"/v2/{self.repository}/{what}"
        self.scripts[path] = replies[0]
        self.server.on(path, *replies)

    def guard(self, allowed: Callable[[Asked], Reply | None]) -> None:
        """Ask ``allowed`` first about every request; its reply goes before the file's."""
        for path, script in self.scripts.items():
            self.server.on(path, guarded(allowed, script))

    def reference(self, tag: str) -> Reference:
        return parse_reference(f"{self.server.url.removeprefix('http://')}/{self.repository}:{tag}")


def guarded(allowed: Callable[[Asked], Reply | None], script: scripted.Script) -> scripted.Script:
    def reply(asked: Asked) -> Reply:
        return allowed(asked) or (script if isinstance(script, Reply) else script(asked))

    return reply


@pytest.fixture
def image(server: Scripted) -> Image:
    return Image(server)


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


def registry(client: Downloader, cache: Cache, environ: dict[str, str] | None = None) -> Registry:
    return Registry(client.config, client, cache, environ=environ or {"HOME": str(cache.root)})


@pytest.mark.parametrize("tag", ["one", "many"])
def test_an_image(image: Image, downloader: Make, cache: Cache, tag: str) -> None:
    reads = registry(downloader(), cache)
    manifest = reads.resolve(image.reference(tag), AMD64)
    assert manifest.digest.text == digest(image.manifest), "of the platform's manifest, not of the index"
    assert manifest.config["architecture"] == "amd64"
    assert manifest.pinned.digest == manifest.digest
    assert manifest.pinned.tag is None
    paths = reads.pull(manifest)
    assert [path.read_bytes() for path in paths] == list(LAYERS)
    assert paths == tuple(cache.blob(layer.digest) for layer in manifest.layers)
    accepted = image.server.asked[0].headers["accept"]
    assert all(kind in accepted for kind in MANIFESTS + INDEXES)


def test_a_pinned_image_in_the_cache_needs_no_registry(image: Image, downloader: Make, cache: Cache) -> None:
    first = registry(downloader(), cache)
    manifest = first.resolve(image.reference("many"), AMD64)
    first.pull(manifest)
    image.server.asked.clear()
    again = registry(downloader(), cache)
    found = again.resolve(manifest.pinned, AMD64)
    again.pull(found)
    assert (found.digest, found.layers, found.config) == (manifest.digest, manifest.layers, manifest.config)
    assert not image.server.asked


def test_a_manifest_damaged_in_the_cache_is_had_anew(image: Image, downloader: Make, cache: Cache) -> None:
    manifest = registry(downloader(), cache).resolve(image.reference("one"), AMD64)
    cache.blob(manifest.digest).write_bytes(b"damaged")
    assert registry(downloader(), cache).resolve(manifest.pinned, AMD64).digest == manifest.digest
    assert cache.blob(manifest.digest).read_bytes() == image.manifest


def test_a_layer_that_comes_twice_is_pulled_once(image: Image, downloader: Make, cache: Cache) -> None:
    manifest = json.loads(image.manifest)
    manifest["layers"] = [manifest["layers"][0]] * 2
    image.on("manifests/twice", Reply(200, json.dumps(manifest).encode()))
    reads = registry(downloader(), cache)
    paths = reads.pull(reads.resolve(image.reference("twice"), AMD64))
    assert len(paths) == 2
    assert len([p for p in image.server.paths() if p.endswith(digest(LAYERS[0]))]) == 1


@pytest.mark.parametrize("tag", ["one", "many"])
def test_another_platform(image: Image, downloader: Make, cache: Cache, tag: str) -> None:
    with pytest.raises(BaseImageError, match="does not exist for linux-aarch64") as caught:
        registry(downloader(), cache).resolve(image.reference(tag), ARM64)
    assert caught.value.why == "it exists for linux/amd64 (linux-64)"


def test_an_absent_tag_says_what_the_registry_said(image: Image, downloader: Make, cache: Cache) -> None:
    said = {"errors": [{"code": "MANIFEST_UNKNOWN", "message": "manifest\x1b[31m unknown"}]}
    image.on("manifests/absent", Reply(404, json.dumps(said).encode()))
    with pytest.raises(BaseImageError) as caught:
        registry(downloader(), cache).resolve(image.reference("absent"), AMD64)
    assert caught.value.what == f"there is no image {image.reference('absent').familiar}"
    assert caught.value.why == "MANIFEST_UNKNOWN: manifest [31m unknown"


@pytest.mark.parametrize("status", [429, 500])
def test_a_registry_that_fails(image: Image, downloader: Make, cache: Cache, status: int) -> None:
    image.on("manifests/one", Reply(status))
    with pytest.raises(NetworkError, match="cannot read the image") as caught:
        registry(downloader(), cache).resolve(image.reference("one"), AMD64)
    assert caught.value.hint is not None


class Tokens:
    """A token server: gives a new token for each request, and knows which one is good."""

    def __init__(self, server: Scripted, *, answer: str = "token") -> None:
        self.server = server
        self.realm = server.on("/token", self.give)
        self.answer = answer
        self.given = 0

    def give(self, asked: Asked) -> Reply:
        self.given += 1
        return Reply(200, json.dumps({self.answer: f"token-{self.given}"}).encode())

    @property
    def good(self) -> str:
        return f"Bearer token-{self.given}"

    def challenge(self, asked: Asked) -> Reply | None:
        """A 401 unless the last token comes with the request."""
        if self.given and asked.headers.get("authorization") == self.good:
            return None
        header = f'Bearer realm="{self.realm}",service="stand-in",scope="repository:team/base:pull"'
        return Reply(401, b"{}", {"WWW-Authenticate": header})


@pytest.mark.parametrize("answer", ["token", "access_token"])
def test_an_anonymous_token(
    image: Image, other: Scripted, downloader: Make, cache: Cache, answer: str
) -> None:
    tokens = Tokens(other, answer=answer)
    image.guard(tokens.challenge)
    reads = registry(downloader(), cache)
    reads.pull(reads.resolve(image.reference("many"), AMD64))
    assert tokens.given == 1, "one token for manifests and blobs"
    asked = other.asked[0]
    assert parse_qs(asked.query) == {"scope": ["repository:team/base:pull"], "service": ["stand-in"]}
    assert "authorization" not in asked.headers


def test_a_token_that_expires_on_the_way(
    image: Image, other: Scripted, downloader: Make, cache: Cache
) -> None:
    tokens = Tokens(other)
    image.guard(tokens.challenge)
    reads = registry(downloader(), cache)
    manifest = reads.resolve(image.reference("one"), AMD64)
    tokens.given += 1  # the one in use is not good any more
    assert [path.read_bytes() for path in reads.pull(manifest)] == list(LAYERS)


def test_a_token_for_a_login_of_docker(
    image: Image, other: Scripted, downloader: Make, cache: Cache, tmp_path: Path
) -> None:
    tokens = Tokens(other)
    image.guard(tokens.challenge)
    auth = base64.b64encode(b"me:pw").decode()
    host = image.server.url.removeprefix("http://")
    (tmp_path / "config.json").write_text(json.dumps({"auths": {host: {"auth": auth}}}))
    reads = registry(downloader(), cache, {"DOCKER_CONFIG": str(tmp_path)})
    reads.resolve(image.reference("one"), AMD64)
    assert other.asked[0].headers["authorization"] == f"Basic {auth}"
    assert not any(a.headers.get("authorization", "").startswith("Basic") for a in image.server.asked)


def test_a_token_for_an_identity_token(
    image: Image, other: Scripted, downloader: Make, cache: Cache, tmp_path: Path
) -> None:
    tokens = Tokens(other, answer="access_token")
    image.guard(tokens.challenge)
    host = image.server.url.removeprefix("http://")
    (tmp_path / "config.json").write_text(json.dumps({"auths": {host: {"identitytoken": "refresh-me"}}}))
    registry(downloader(), cache, {"DOCKER_CONFIG": str(tmp_path)}).resolve(image.reference("one"), AMD64)
    asked = other.asked[0]
    assert asked.method == "POST"
    form = parse_qs(asked.body.decode())
    assert form["grant_type"] == ["refresh_token"]
    assert form["refresh_token"] == ["refresh-me"]
    assert form["scope"] == ["repository:team/base:pull"]
    assert asked.query == ""


def test_the_configuration_goes_before_docker(
    image: Image, other: Scripted, downloader: Make, cache: Cache, tmp_path: Path
) -> None:
    tokens = Tokens(other)
    image.guard(tokens.challenge)
    host = image.server.url.removeprefix("http://")
    (tmp_path / "config.json").write_text(json.dumps({"auths": {host: {"auth": "bm86bm8="}}}))
    client = downloader({"PW": "right"}, credentials={host: Credential("me", "PW")})
    registry(client, cache, {"DOCKER_CONFIG": str(tmp_path)}).resolve(image.reference("one"), AMD64)
    assert other.asked[0].headers["authorization"] == "Basic " + base64.b64encode(b"me:right").decode()


def test_basic_authentication(image: Image, downloader: Make, cache: Cache, tmp_path: Path) -> None:
    auth = base64.b64encode(b"me:pw").decode()

    def challenge(asked: Asked) -> Reply | None:
        if asked.headers.get("authorization") == f"Basic {auth}":
            return None
        return Reply(401, b"", {"WWW-Authenticate": 'Basic realm="Registry Realm"'})

    image.guard(challenge)
    host = image.server.url.removeprefix("http://")
    with pytest.raises(BaseImageError, match="or you may not read it") as caught:
        registry(downloader(), cache).resolve(image.reference("one"), AMD64)
    assert caught.value.hint == f"Check the spelling, or run `docker login {host}`."
    (tmp_path / "config.json").write_text(json.dumps({"auths": {host: {"auth": auth}}}))
    reads = registry(downloader(), cache, {"DOCKER_CONFIG": str(tmp_path)})
    reads.pull(reads.resolve(image.reference("one"), AMD64))


def test_a_repository_that_nobody_may_see(
    image: Image, other: Scripted, downloader: Make, cache: Cache
) -> None:
    """As Docker Hub does it: a token is given to anybody, and is good for nothing."""
    tokens = Tokens(other)
    header = {"WWW-Authenticate": f'Bearer realm="{tokens.realm}",error="insufficient_scope"'}
    said = b'{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}'
    image.on("manifests/one", Reply(401, said, header))
    with pytest.raises(BaseImageError, match="or you may not read it") as caught:
        registry(downloader(), cache).resolve(image.reference("one"), AMD64)
    assert caught.value.why == "UNAUTHORIZED: authentication required"
    assert len(image.server.asked) == 2


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b'{"token": 5}', b'{"token": "a\\r\\nX: y"}', b'{"token": ""}']
)
def test_a_token_server_that_gives_none(
    image: Image, other: Scripted, downloader: Make, cache: Cache, body: bytes
) -> None:
    tokens = Tokens(other)
    image.guard(tokens.challenge)
    other.on("/token", Reply(200, body))
    with pytest.raises(NetworkError, match="gave no token"):
        registry(downloader(), cache).resolve(image.reference("one"), AMD64)


def test_a_helper_that_is_missing_is_said_and_passed_by(
    image: Image, other: Scripted, downloader: Make, cache: Cache, tmp_path: Path, told: Told
) -> None:
    image.guard(Tokens(other).challenge)
    (tmp_path / "config.json").write_text(json.dumps({"credsStore": "absent-here"}))
    registry(downloader(), cache, {"DOCKER_CONFIG": str(tmp_path)}).resolve(image.reference("one"), AMD64)
    assert told.notes == ["cannot start docker-credential-absent-here; going on without a login"]


def test_a_broken_login_is_an_error(
    image: Image, other: Scripted, downloader: Make, cache: Cache, tmp_path: Path
) -> None:
    image.guard(Tokens(other).challenge)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ConfigError):
        registry(downloader(), cache, {"DOCKER_CONFIG": str(tmp_path)}).resolve(image.reference("one"), AMD64)


def test_docker_hub_by_a_mirror(
    server: Scripted, other: Scripted, downloader: Make, cache: Cache, tmp_path: Path
) -> None:
    image = Image(server, repository="library/ubuntu")
    image.guard(Tokens(other).challenge)
    login = {"auths": {"https://index.docker.io/v1/": {"auth": base64.b64encode(b"me:pw").decode()}}}
    (tmp_path / "config.json").write_text(json.dumps(login))
    client = downloader(registries={"docker.io": server.url})
    reads = registry(client, cache, {"DOCKER_CONFIG": str(tmp_path)})
    manifest = reads.resolve(parse_reference("ubuntu:one"), AMD64)
    assert server.paths()[0] == "/v2/library/ubuntu/manifests/one"
    assert str(manifest.pinned) == f"docker.io/library/ubuntu@{digest(image.manifest)}"
    assert "authorization" not in other.asked[0].headers, "the mirror must not see Docker Hub's login"


def test_blobs_that_are_elsewhere(image: Image, other: Scripted, downloader: Make, cache: Cache) -> None:
    """Registries redirect to object stores, which refuse requests with two authorizations."""
    tokens = Tokens(other)
    for data in LAYERS:
        target = other.on(f"/store/{digest(data)}", scripted.file(data))
        image.on(f"blobs/{digest(data)}", Reply(307, headers={"Location": f"{target}?signature=hush"}))
    image.guard(tokens.challenge)
    reads = registry(downloader(), cache)
    paths = reads.pull(reads.resolve(image.reference("one"), AMD64))
    assert [path.read_bytes() for path in paths] == list(LAYERS)
    stored = [asked for asked in other.asked if asked.path.startswith("/store/")]
    assert len(stored) == 2
    assert not any("authorization" in asked.headers for asked in stored)


def test_a_wrong_layer(image: Image, downloader: Make, cache: Cache) -> None:
    image.on(f"blobs/{digest(LAYERS[1])}", scripted.file(b"x" * len(LAYERS[1])))
    reads = registry(downloader(), cache)
    manifest = reads.resolve(image.reference("one"), AMD64)
    with pytest.raises(IntegrityError, match="does not have the recorded content"):
        reads.pull(manifest)
    assert not cache.blob(manifest.layers[1].digest).exists()


def test_a_layer_is_continued(image: Image, downloader: Make, cache: Cache) -> None:
    image.on(f"blobs/{digest(LAYERS[0])}", Reply(200, LAYERS[0], cut=5000), scripted.file(LAYERS[0]))
    reads = registry(downloader(), cache)
    paths = reads.pull(reads.resolve(image.reference("one"), AMD64))
    assert paths[0].read_bytes() == LAYERS[0]
    assert any(asked.headers.get("range") for asked in image.server.asked)


def test_a_manifest_that_is_another(image: Image, downloader: Make, cache: Cache) -> None:
    image.on(f"manifests/{digest(image.manifest)}", Reply(200, image.manifest + b" "))
    with pytest.raises(IntegrityError, match="gave another manifest"):
        registry(downloader(), cache).resolve(image.reference("many"), AMD64)


def test_an_index_that_lies_about_sizes(image: Image, downloader: Make, cache: Cache) -> None:
    index = json.loads(image.index)
    index["manifests"][0]["size"] += 1
    image.on("manifests/many", Reply(200, json.dumps(index).encode()))
    with pytest.raises(IntegrityError, match="not as long as its index says"):
        registry(downloader(), cache).resolve(image.reference("many"), AMD64)


def test_an_index_in_an_index(image: Image, downloader: Make, cache: Cache) -> None:
    inner = image.index
    image.on(f"manifests/{digest(inner)}", Reply(200, inner))
    outer = json.loads(inner)
    outer["manifests"][0] |= {"digest": digest(inner), "size": len(inner)}
    image.on("manifests/many", Reply(200, json.dumps(outer).encode()))
    with pytest.raises(IntegrityError, match="leads to another index"):
        registry(downloader(), cache).resolve(image.reference("many"), AMD64)


def test_a_wrong_configuration(image: Image, downloader: Make, cache: Cache) -> None:
    image.on(f"blobs/{digest(image.config)}", Reply(200, b"{}"))
    with pytest.raises(IntegrityError, match="wrong configuration"):
        registry(downloader(), cache).resolve(image.reference("one"), AMD64)


def test_huge_documents(image: Image, downloader: Make, cache: Cache) -> None:
    image.on("manifests/huge", Reply(200, b" " * (5 << 20)))
    with pytest.raises(NetworkError) as caught:
        registry(downloader(), cache).resolve(image.reference("huge"), AMD64)
    assert caught.value.why is not None
    assert "larger than 4194304 bytes" in caught.value.why
    manifest = json.loads(image.manifest)
    manifest["config"]["size"] = 1 << 30
    image.on("manifests/huge", Reply(200, json.dumps(manifest).encode()))
    with pytest.raises(IntegrityError, match="is said to have 1073741824 bytes"):
        registry(downloader(), cache).resolve(image.reference("huge"), AMD64)


def test_another_host_is_asked_by_https(downloader: Make, cache: Cache) -> None:
    with pytest.raises(NetworkError) as caught:
        registry(downloader(), cache).resolve(parse_reference("no-such-host.invalid:5000/a"), AMD64)
    assert caught.value.what == "cannot read the image no-such-host.invalid:5000/a:latest"
    assert caught.value.why is not None
    assert caught.value.why.startswith("cannot reach no-such-host.invalid:5000")
