"""Clients that pip does not bring: kcat, a package of Debian, and kafkajs, one of npm.

``python -m tests.kafka.clients.bring`` puts them into ``.nox/clients``, where the tests find them; the
session ``environment`` does that. It installs nothing, needs no root, and where one cannot be had it says so
and goes on: the tests that need it are skipped.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

FOLDER = Path(__file__).parents[3] / ".nox" / "clients"
_KCAT = ("kcat", "librdkafka1", "libyajl2")
_KAFKAJS = ("kafkajs@2.2.4", "kafkajs-snappy@1.1.0")
_SECONDS = 120


def kcat() -> tuple[list[str], dict[str, str]] | None:
    """Its command and environment, if it is here."""
    found = shutil.which("kcat")
    if found is not None:
        return [found], dict(os.environ)
    program = FOLDER / "kcat" / "usr" / "bin" / "kcat"
    if not program.exists():
        return None
    libraries = ":".join(str(path) for path in (FOLDER / "kcat" / "usr" / "lib").iterdir())
    return [str(program)], {**os.environ, "LD_LIBRARY_PATH": libraries}


def kafkajs() -> tuple[list[str], dict[str, str]] | None:
    """The command that runs a script with it, and its environment, if it is here."""
    node, modules = shutil.which("node"), FOLDER / "node_modules"
    if node is None or not (modules / "kafkajs").exists():
        return None
    return [node], {**os.environ, "NODE_PATH": str(modules), "KAFKAJS_NO_PARTITIONER_WARNING": "1"}


def bring() -> None:
    """Fetch what is not here yet."""
    for name, here, fetch in (("kcat", kcat, _fetch_kcat), ("kafkajs", kafkajs, _fetch_kafkajs)):
        why = "" if here() else _why_not(fetch)
        if here() is None:
            print(f"{name} is not here, and its tests are skipped: {why or 'it does not run on this system'}")


def _why_not(fetch: Callable[[], None]) -> str:
    try:
        fetch()
    except FileNotFoundError as error:
        return f"there is no {error.filename}"
    except subprocess.CalledProcessError as error:
        return f"{error.cmd[0]} failed: {error.stderr.strip()}"
    except subprocess.TimeoutExpired as error:
        return f"{error.cmd[0]} took too long"
    return ""


def _fetch_kcat() -> None:
    packages = FOLDER / "packages"
    packages.mkdir(parents=True, exist_ok=True)
    try:
        _run("apt-get", "download", *_KCAT, folder=packages)
    except subprocess.CalledProcessError:  # it knows no packages yet
        _run("apt-get", "update", folder=packages)
        _run("apt-get", "download", *_KCAT, folder=packages)
    for package in packages.glob("*.deb"):
        _run("dpkg", "-x", str(package), str(FOLDER / "kcat"), folder=packages)


def _fetch_kafkajs() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    _run("npm", "install", "--no-audit", "--no-fund", "--prefix", str(FOLDER), *_KAFKAJS, folder=FOLDER)


def _run(*command: str, folder: Path) -> None:
    subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True, timeout=_SECONDS)


if __name__ == "__main__":
    bring()
