"""Hand-made packages for what is seldom: each exists for one question that solvers or linkers must answer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from tests.standins.conda_package import PLACEHOLDER, File, Package, script
from tests.standins.elf import printer

# Written as .tar.bz2; `v0_demo` also without paths.json.
LEGACY = {"clobber_b", "legacy_demo", "six", "v0_demo"}
WITHOUT_PATHS_JSON = {"v0_demo"}


def packages() -> Iterator[Package]:
    """All of them."""
    yield from _linking()
    yield from _scripts()
    yield from _solving()
    yield from _gpus()
    yield from _system_files()


def _generic(name: str, files: dict[str, File], *depends: str, version: str = "1.0") -> Package:
    return Package(name, version, "0", "noarch", files, depends, noarch="generic")


def _linking() -> Iterator[Package]:
    """Prefixes, links, clashes."""
    greeting = f"{PLACEHOLDER}/share/hello/greeting"
    hello = {
        "bin/hello-prefix": File(printer(greeting), 0o755, prefix="binary"),
        "bin/hello-link": File(link="hello-prefix"),
        "bin/hello-sh": script(f"#!{PLACEHOLDER}/bin/python\nprint('sh', __file__)\n"),
        "lib/hello.bin": File(
            b"\x01\0" + f"{PLACEHOLDER}/share:{PLACEHOLDER}/lib\0end\0".encode() + b"\xff", prefix="binary"
        ),
        "lib/pkgconfig/hello.pc": File(f"prefix={PLACEHOLDER}\n".encode(), prefix="text"),
        "share/hello/greeting": File(f"hello from {PLACEHOLDER}\n".encode(), prefix="text"),
    }
    yield Package("hello_prefix", "1.0", "h1_0", "linux-64", hello, ["python"])
    yield _generic("clobber_a", {"share/clobber/data.txt": File(b"from a\n"), "share/a": File(b"a")})
    yield _generic("clobber_b", {"share/clobber/data.txt": File(b"from b\n"), "share/b": File(b"b")})
    yield _generic("case_a", {"share/Case/README": File(b"upper\n")})
    yield _generic("case_b", {"share/case/readme": File(b"lower\n"), "share/Case/readme": File(b"mixed\n")})
    yield _generic(
        "links_demo",
        {
            "share/links/file": File(b"x\n"),
            "share/links/beside": File(link="file"),
            "share/links/up": File(link="../links/file"),
            "share/links/dangling": File(link="nowhere"),
            "share/links/folder": File(link="../links"),
            "share/links/n\N{LATIN SMALL LETTER AE}me with space": File(b"y\n"),
        },
    )
    legacy = {
        "etc/legacy.conf": File(f"root={PLACEHOLDER}\n".encode(), prefix="text"),
        "share/legacy/data": File(b"kept\n", no_link=True),
    }
    yield _generic("legacy_demo", legacy)
    yield _generic("v0_demo", {name.replace("legacy", "v0"): file for name, file in legacy.items()})
    init = b"import sys\n\n\ndef main():\n    print('entry_demo', sys.prefix, sys.argv[1:])\n    return 0\n"
    info = "site-packages/entry_demo-1.0.dist-info"
    entry = {
        "site-packages/entry_demo/__init__.py": File(init),
        f"{info}/METADATA": File(b"Metadata-Version: 2.1\nName: entry_demo\nVersion: 1.0\n"),
        f"{info}/INSTALLER": File(b"conda\n"),
        f"{info}/entry_points.txt": File(b"[console_scripts]\nentry-demo = entry_demo:main\n"),
        f"{info}/RECORD": File(b"entry_demo/__init__.py,,\nentry_demo-1.0.dist-info/METADATA,,\n"),
        "python-scripts/entry-demo-script": script(
            f"#!{PLACEHOLDER}/bin/python\nimport entry_demo\n\nentry_demo.main()\n"
        ),
    }
    yield Package(
        "entry_demo", "1.0", "pyh0_0", "noarch", entry, ["python >=3.8"],
        noarch="python", entry_points=["entry-demo = entry_demo:main"],
    )  # fmt: skip


def _scripts() -> Iterator[Package]:
    """Link scripts and activation."""
    ran = (
        '#!/bin/bash\nset -e\nmkdir -p "$PREFIX/var/postlink_demo"\n'
        'echo "name=$PKG_NAME version=$PKG_VERSION build=$PKG_BUILDNUM prefix=$PREFIX"'
        ' > "$PREFIX/var/postlink_demo/ran"\necho "a message" >> "$PREFIX/.messages.txt"\n'
    )
    post_link = {"bin/.postlink_demo-post-link.sh": script(ran), "share/postlink_demo/data": File(b"x\n")}
    yield _generic("postlink_demo", post_link)
    broken = script("#!/bin/bash\necho broken >&2\nexit 3\n")
    yield _generic("postlink_fail", {"bin/.postlink_fail-post-link.sh": broken})
    activate = f'export ACTIVATE_DEMO_HOME="{PLACEHOLDER}/share/activate_demo"\n'
    yield _generic(
        "activate_demo",
        {
            "etc/conda/activate.d/activate_demo.sh": File(activate.encode(), prefix="text"),
            "etc/conda/deactivate.d/activate_demo.sh": File(b"unset ACTIVATE_DEMO_HOME\n"),
            "etc/conda/env_vars.d/activate_demo.json": File(b'{"ACTIVATE_DEMO_VAR": "1"}'),
            "share/activate_demo/x": File(),
        },
    )


def _solving() -> Iterator[Package]:
    """Virtual packages, conflicts, versions over time."""
    yield _generic("needs_cuda", {"share/needs_cuda": File()}, "__cuda >=12")
    for version, glibc in (("1.0", "2.34"), ("0.9", "2.17")):
        needs = Package(
            "needs_glibc", version, "0", "linux-64", {"share/needs_glibc": File()}, [f"__glibc >={glibc}"]
        )
        yield needs
        yield needs.stub("linux-aarch64")
    yield Package(
        "march_demo", "1.0", "v3_0", "linux-64", {"share/march": File(b"v3")},
        ["__archspec 1 x86_64_v3"], build_number=1,
    )  # fmt: skip
    yield Package("march_demo", "1.0", "v1_0", "linux-64", {"share/march": File(b"v1")})
    yield Package("only_64", "1.0", "0", "linux-64", {"share/only_64": File()})
    yield _generic("conflict_a", {"share/ca": File()}, "conflict_base 1.*")
    yield _generic("conflict_b", {"share/cb": File()}, "conflict_base 2.*")
    for version, date in (("1.0", "2023-01-01"), ("2.0", "2023-06-01")):
        base = _generic("conflict_base", {"share/cbase": File(version.encode())}, version=version)
        yield replace(base, date=f"{date}T00:00:00Z")
    timeline = {"1.0": "2023-01-10", "1.1": "2024-01-10", "2.0": "2025-01-10", "3.0": "2026-01-10"}
    for version, date in timeline.items():
        release = _generic("timeline", {"share/timeline": File(version.encode())}, version=version)
        yield replace(release, date=f"{date}T00:00:00Z")
    rebuilt = _generic("timeline", {"share/timeline": File(b"1.1 again")}, version="1.1")
    yield replace(rebuilt, build="1", build_number=1, date="2024-06-10T00:00:00Z")
    yield replace(_generic("no_timestamp", {"share/nots": File()}), date=None)


def _gpus() -> Iterator[Package]:
    """Builds for the CPU and for CUDA, as conda-forge makes them: with a driver, CUDA's is taken."""
    yield Package("cudatoolkit", "11.8.0", "h0_0", "linux-64", {"lib/libcudart.so.11": File()})
    yield Package("gpu_demo", "1.0", "cpu_0", "linux-64", {"share/gpu_demo": File(b"cpu")})
    yield Package(
        "gpu_demo", "1.0", "cuda118_200", "linux-64", {"share/gpu_demo": File(b"cuda")},
        ["__cuda", "cudatoolkit >=11.8,<12"], build_number=200,
    )  # fmt: skip


def _system_files() -> Iterator[Package]:
    """What every python depends on: time zones and certificates, both empty of content."""
    utc = b"TZif2" + bytes(39) + b"TZif2" + bytes(39) + b"\nUTC0\n"
    zones = replace(_generic("tzdata", {"share/zoneinfo/UTC": File(utc)}), version="2024a", build="h0_0")
    yield replace(zones, date="2022-02-01T00:00:00Z")
    activate = f'export SSL_CERT_FILE="{PLACEHOLDER}/ssl/cacert.pem"\n'
    certificates = {
        "ssl/cacert.pem": File(b"# a stand-in without certificates\n"),
        "ssl/cert.pem": File(link="cacert.pem"),
        "etc/conda/activate.d/ca-certificates.sh": File(activate.encode(), prefix="text"),
        "etc/conda/deactivate.d/ca-certificates.sh": File(b"unset SSL_CERT_FILE\n"),
    }
    package = replace(_generic("ca-certificates", certificates), version="2023.1.1", build="h0_0")
    yield replace(package, date="2022-02-01T00:00:00Z")
