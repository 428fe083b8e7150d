"""Requests over the wire: errors, retries, redirects, mirrors, credentials, secrets."""

from __future__ import annotations

import base64
import datetime
import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from envpack.config import Credential
from envpack.download import Downloader
from envpack.errors import ConfigError, EnvpackError, Interrupted, NetworkError
from envpack.http_errors import HttpError
from tests.standins import scripted
from tests.standins.scripted import Reply, Scripted
from tests.unit.conftest import Told

Make = Callable[..., Downloader]


@pytest.fixture
def unused() -> str:
    """A URL on a port where nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


def failure(downloader: Downloader, url: str) -> HttpError:
    with pytest.raises(HttpError) as caught:
        downloader.get(url)
    return caught.value


def host(url: str) -> str:
    return url.partition("://")[2].partition("/")[0]


def test_a_document(server: Scripted, downloader: Make) -> None:
    answer = downloader().get(server.on("/a", Reply(200, b"text", {"X-Kind": "b"})))
    assert (answer.status, answer.body, answer.headers["x-kind"]) == (200, b"text", "b")
    assert server.asked[0].headers["user-agent"].startswith("envpack/")


@pytest.mark.parametrize("status", [500, 502, 503, 429, 408])
def test_transient_answers_are_asked_again(
    server: Scripted, downloader: Make, waits: list[float], told: Told, status: int
) -> None:
    url = server.on("/a", Reply(status), Reply(status), Reply(200, b"at last"))
    assert downloader().get(url).body == b"at last"
    assert waits == [0.5, 1.0]
    assert len(told.notes) == 2
    assert told.notes[0].endswith("trying again in 0.5 s")


def test_tries_are_bounded(server: Scripted, downloader: Make, waits: list[float]) -> None:
    error = failure(downloader(), server.on("/a", Reply(503)))
    assert error.status == 503
    assert "failed to answer for" in error.what
    assert error.why == "status 503"
    assert len(server.asked) == 5
    assert waits == [0.5, 1.0, 2.0, 4.0]


def test_retry_after_in_seconds_and_as_a_date(server: Scripted, downloader: Make, waits: list[float]) -> None:
    date = {"Retry-After": "Tue, 01 Jan 2030 00:00:30 GMT"}

    url = server.on("/a", Reply(429, headers={"Retry-After": "7"}), Reply(503, headers=date), Reply(200))
    error = failure(downloader(), url)  # the server's own Date header lies years before
    assert waits == [7.0]
    assert error.retry_after is not None
    assert error.retry_after > 60


@pytest.mark.parametrize("value", ["", "soon", "-5", "\N{SUPERSCRIPT TWO}".encode().decode("latin-1"), "1e9"])
def test_retry_after_that_makes_no_sense(
    server: Scripted, downloader: Make, waits: list[float], value: str
) -> None:
    downloader().get(server.on("/a", Reply(429, headers={"Retry-After": value}), Reply(200)))
    assert waits == [0.5]


def test_a_server_that_wants_an_hour_is_given_up_on(
    server: Scripted, downloader: Make, waits: list[float]
) -> None:
    error = failure(downloader(), server.on("/a", Reply(429, headers={"Retry-After": "3600"})))
    assert "limits how often" in error.what
    assert error.hint == "Try again in 3600 s."
    assert waits == []


@pytest.mark.parametrize("status", [401, 403])
def test_no_permission_names_the_setting(server: Scripted, downloader: Make, status: int) -> None:
    error = failure(downloader(), server.on("/a", Reply(status)))
    assert f"{server.url}/a" in error.what
    assert error.hint is not None
    assert f'[credentials."{host(server.url)}"]' in error.hint
    assert len(server.asked) == 1


def test_absent(server: Scripted, downloader: Make) -> None:
    error = failure(downloader(), server.url + "/a")
    assert error.what == f"{server.url}/a does not exist"
    assert error.status == 404
    assert len(server.asked) == 1


def test_an_unexpected_status(server: Scripted, downloader: Make) -> None:
    assert "unexpected answer" in failure(downloader(), server.on("/a", Reply(204))).what


def test_nobody_listens(downloader: Make, unused: str, waits: list[float]) -> None:
    client = downloader()
    error = failure(client, unused + "/a?token=hush")
    assert error.what == f"cannot reach {host(unused)}"
    assert error.why == "Connection refused"
    assert error.exit_code == NetworkError.exit_code
    assert len(waits) == 4
    failure(client, unused + "/b")
    assert len(waits) == 4, "a host that is down is not waited for again"


def test_an_unknown_host(downloader: Make) -> None:
    assert failure(downloader(), "http://no-such-host.invalid/a").what == "cannot reach no-such-host.invalid"


def test_a_silent_server_is_too_slow(server: Scripted, downloader: Make) -> None:
    error = failure(downloader(), server.on("/a", Reply(silent=True)))
    assert "too slow" in error.what
    assert "0.3 s" in error.what


def test_a_connection_that_breaks(server: Scripted, downloader: Make) -> None:
    url = server.on("/a", Reply(200, b"x" * 1000, cut=10), Reply(200, b"whole"))
    assert downloader().get(url).body == b"whole"
    server.on("/a", Reply(200, b"x" * 1000, cut=10))
    assert "broke" in failure(downloader(), url).what


@pytest.mark.parametrize(
    "url", ["no url", "http://", "ftp://host/a", "http://[::1/a", "http://a" + "b" * 70 + ".c/"]
)
def test_what_is_no_url(downloader: Make, url: str, waits: list[float]) -> None:
    assert "not a URL" in failure(downloader(), url).what
    assert waits == []


def test_large_answers_are_cut_off(server: Scripted, downloader: Make) -> None:
    url = server.on("/a", Reply(200, bytes(1001)))
    client = downloader().http
    with pytest.raises(HttpError, match="larger than 1000 bytes"):
        client.get(url, limit=1000)
    assert len(client.get(url, limit=1001).body) == 1001


def test_no_authorization_for_another_origin(server: Scripted, other: Scripted, downloader: Make) -> None:
    target = other.on("/b", Reply(200, b"there"))
    url = server.on("/a", Reply(307, headers={"Location": "/here"}))
    server.on("/here", Reply(302, headers={"Location": target}))
    credentials = {host(server.url): Credential("me", "PASSWORD")}
    assert downloader({"PASSWORD": "hush"}, credentials=credentials).get(url).body == b"there"
    expected = "Basic " + base64.b64encode(b"me:hush").decode()
    assert [a.headers.get("authorization") for a in server.asked] == [expected, expected]
    assert "authorization" not in other.asked[0].headers

    client = downloader()
    client.get(url, authorize=lambda challenge=None, refused=None: "Bearer hush")
    assert server.asked[-1].headers["authorization"] == "Bearer hush"
    assert "authorization" not in other.asked[-1].headers


def test_redirects_without_end(server: Scripted, downloader: Make) -> None:
    url = server.on("/a", Reply(302, headers={"Location": "/a"}))
    assert "redirected without end" in failure(downloader(), url).what


def test_credentials_win_over_netrc(server: Scripted, downloader: Make) -> None:
    Path.home().joinpath(".netrc").write_text("machine 127.0.0.1 login other password wrong\n")
    url = server.on("/a", Reply())
    downloader().get(url)
    assert server.asked[-1].headers["authorization"].startswith("Basic ")
    credentials = {host(server.url): Credential(token_env="TOKEN")}
    downloader({"TOKEN": "abc"}, credentials=credentials).get(url)
    assert server.asked[-1].headers["authorization"] == "Bearer abc"


def test_a_variable_that_is_not_set(server: Scripted, downloader: Make) -> None:
    client = downloader(credentials={host(server.url): Credential("me", "MY_PASSWORD")})
    with pytest.raises(ConfigError, match="the variable MY_PASSWORD is not set"):
        client.get(server.url + "/a")
    assert not server.asked


def test_a_token_that_would_break_the_header(server: Scripted, downloader: Make) -> None:
    client = downloader(
        {"TOKEN": "a\r\nX-Evil: b"}, credentials={host(server.url): Credential(token_env="TOKEN")}
    )
    with pytest.raises(ConfigError, match="TOKEN does not hold a token") as caught:
        client.get(server.url + "/a")
    assert "Evil" not in str(caught.value)


def test_credentials_are_not_sent_unencrypted(downloader: Make) -> None:
    client = downloader({"T": "hush"}, credentials={"example.invalid": Credential(token_env="T")})
    with pytest.raises(ConfigError, match="unencrypted"):
        client.get("http://example.invalid/a")


def test_mirrors_in_order_and_errors_about_the_channel(
    server: Scripted, other: Scripted, downloader: Make
) -> None:
    client = downloader(mirrors={"https://channel.invalid/c": (server.url + "/m", other.url)})
    other.on("/p/a.conda", Reply(200, b"package"))
    assert client.get("https://channel.invalid/c/p/a.conda").body == b"package"
    assert server.paths() == ["/m/p/a.conda"]
    error = failure(client, "https://channel.invalid/c/p/b.conda")
    assert error.what == "https://channel.invalid/c/p/b.conda does not exist"
    assert error.why == f"status 404, asked at the mirror {other.url}/p/b.conda"


def test_variables_stand_for_secrets_in_urls(server: Scripted, downloader: Make) -> None:
    server.on("/t/a%2Fb/p$HOME.conda", Reply(200, b"package"))
    client = downloader({"TOKEN": "a/b", "HOME": "/root"})
    assert client.get(server.url + "/t/${TOKEN}/p$HOME.conda").body == b"package"
    with pytest.raises(ConfigError, match="PASSWORD is not set") as caught:
        downloader({"ME": "me"}).get("http://${ME}:$PASSWORD@127.0.0.1/a")
    assert "127.0.0.1" in str(caught.value)


def test_an_unreachable_mirror_is_named(downloader: Make, unused: str) -> None:
    error = failure(
        downloader(mirrors={"https://channel.invalid": (unused,)}), "https://channel.invalid/a?k=hush"
    )
    assert error.what == "cannot reach channel.invalid"
    assert error.why == f"Connection refused, asked at the mirror {host(unused)}"


SECRET = "hush-hush"


@pytest.mark.parametrize(
    "reply", [Reply(403), Reply(404), Reply(500), Reply(silent=True), Reply(204), Reply(200, b"xx", cut=1)]
)
def test_no_secret_in_any_message(server: Scripted, downloader: Make, told: Told, reply: Reply) -> None:
    server.on(f"/t/{SECRET}/a", reply)
    place = server.url.replace("http://", f"http://me:{SECRET}@")
    credentials = {host(server.url): Credential(token_env="T")}
    error = failure(
        downloader({"T": SECRET}, credentials=credentials), f"{place}/t/{SECRET}/a?token={SECRET}#{SECRET}"
    )
    assert server.asked[0].path == f"/t/{SECRET}/a"
    assert SECRET not in f"{error} {error.args} {told.notes}"


def test_no_secret_where_nobody_listens(downloader: Make, unused: str) -> None:
    error = failure(downloader(), unused.replace("//", f"//me:{SECRET}@") + f"/t/{SECRET}/a?token={SECRET}")
    assert SECRET not in str(error)


def test_a_challenge_is_answered_once(server: Scripted, downloader: Make) -> None:
    url = server.on("/a", Reply(401, headers={"WWW-Authenticate": "Magic x=1"}), Reply(200, b"in"))
    seen = []

    def authorize(challenge: str | None = None, refused: str | None = None) -> str | None:
        seen.append(challenge)
        return None if challenge is None else "Magic word"

    assert downloader().get(url, authorize=authorize).body == b"in"
    assert seen == [None, "Magic x=1"]
    assert server.asked[1].headers["authorization"] == "Magic word"


def test_forms(server: Scripted, downloader: Make) -> None:
    url = server.on("/token", Reply(200, b"{}"))
    downloader().http.post(url, {"grant_type": "refresh_token"})
    assert (server.asked[0].method, server.asked[0].body) == ("POST", b"grant_type=refresh_token")


def test_a_stopped_client_gives_up(server: Scripted, downloader: Make) -> None:
    client = downloader()
    client.http.stop()
    with pytest.raises(Interrupted):
        client.get(server.on("/a", Reply()))
    assert not server.asked


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for 127.0.0.1 that nobody has signed but itself, with its key."""
    import ipaddress

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.timezone.utc)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    path.write_bytes(
        made.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return path


@pytest.fixture
def secure(certificate: Path) -> Iterator[Scripted]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with scripted.serving(context) as running:
        yield running


def test_a_certificate_that_nobody_vouches_for(
    secure: Scripted, downloader: Make, waits: list[float]
) -> None:
    error = failure(downloader(), secure.on("/a", Reply()))
    assert error.what == f"no secure connection to {host(secure.url)}"
    assert error.hint is not None
    assert "REQUESTS_CA_BUNDLE" in error.hint
    assert waits == []


def test_a_certificate_that_ssl_cert_file_vouches_for(
    secure: Scripted, downloader: Make, certificate: Path
) -> None:
    url = secure.on("/a", Reply(200, b"x"))
    assert downloader({"SSL_CERT_FILE": str(certificate)}).get(url).body == b"x"


def test_no_redirect_to_an_unencrypted_address(
    secure: Scripted, other: Scripted, downloader: Make, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    url = secure.on("/a", Reply(302, headers={"Location": other.url}))
    assert "redirected to an unencrypted address" in failure(downloader(), url).what
    assert not other.asked


def test_the_error_is_one_of_ours(downloader: Make, server: Scripted) -> None:
    assert isinstance(failure(downloader(), server.url + "/x"), EnvpackError)
