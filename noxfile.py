"""What is checked, and how: ``nox`` runs everything that a change must pass.

Installing the package with everything the checks need takes longer than most of the checks, so they
share one environment, made by the session ``environment``. Only the sessions whose point is a
different set of packages (``bench``, ``mindeps``, ``extras``) make their own.
"""

from __future__ import annotations

import functools
import sys
from pathlib import Path

import nox

nox.needs_version = ">=2025.5.1"
nox.options.default_venv_backend = "virtualenv"
nox.options.sessions = ["format", "lint", "types", "layers", "tests", "docs", "examples"]

PROJECT = nox.project.load_toml("pyproject.toml")
EXTRAS = PROJECT["project"]["optional-dependencies"]
SOURCES = ["streamhouse", "tests", "examples", "noxfile.py"]
IMPORT_TEST_KIT = """
import importlib, pkgutil, streamhouse.testing as kit
for module in pkgutil.walk_packages(kit.__path__, "streamhouse.testing."):
    importlib.import_module(module.name)
"""
SERVE = "import streamhouse, streamhouse.kafka as k; k.serve(streamhouse.Log('memory://'), port=0).close()"
RUNTIME = ["cli", "fast", "kafka", "notebook"]  # extras whose floors are those of users
APART = ["--ignore=tests/docs", "--ignore=tests/examples"]  # sessions of their own
SIDE_BY_SIDE = ["-n", "auto", "--maxprocesses", "4", "--dist", "worksteal"]  # most wait
TESTS = ["-m", "pytest", "tests", *APART, *SIDE_BY_SIDE]


def group(*names: str) -> list[str]:
    """The requirements of dependency groups."""
    return nox.project.dependency_groups(PROJECT, *names)


def python(session: nox.Session, *arguments: str) -> None:
    """Run Python in the shared environment."""
    folder = "Scripts" if sys.platform == "win32" else "bin"
    interpreter = Path(nox.options.envdir or ".nox", "environment", folder, "python")
    session.run(str(interpreter), *arguments, external=True)


checks = functools.partial(nox.session, venv_backend="none", requires=["environment"])
"""A session that runs in the shared environment."""


@nox.session(reuse_venv=True, default=False)
def environment(session: nox.Session) -> None:
    """Install the package with its extras and the development tools."""
    session.install("--quiet", "--editable", f".[{','.join(EXTRAS)}]", *group("check", "test"))
    session.run("python", "-m", "tests.kafka.clients.bring")  # clients of Kafka that are not Python's


@checks(name="format")
def format_(session: nox.Session) -> None:
    """Every file is formatted (``nox -s format -- --fix`` does it)."""
    check = [] if "--fix" in session.posargs else ["--check"]
    python(session, "-m", "ruff", "format", *check, *SOURCES)


@checks()
def lint(session: nox.Session) -> None:
    """No file breaks a lint rule."""
    python(session, "-m", "ruff", "check", *SOURCES, *session.posargs)


@checks()
def types(session: nox.Session) -> None:
    """The package passes mypy's strict mode."""
    python(session, "-m", "mypy", *session.posargs)


@checks()
def layers(session: nox.Session) -> None:
    """Imports point downwards only."""
    command = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    python(session, "-c", command, "--no-logo")


@checks()
def tests(session: nox.Session) -> None:
    """The tests of the package."""
    python(session, *TESTS, *session.posargs)


@checks()
def docs(session: nox.Session) -> None:
    """Every code block of the README, the documentation and the docstrings runs."""
    doctests = ["--doctest-modules", "streamhouse"]
    python(session, "-m", "pytest", "tests/docs", *doctests, *session.posargs)


@checks()
def examples(session: nox.Session) -> None:
    """The examples run, and print what is true."""
    python(session, "-m", "pytest", "tests/examples", *session.posargs)


@checks(default=False)
def sim(session: nox.Session) -> None:
    """The long simulation of the commit protocol: ``nox -s sim -- --seeds 100000``."""
    python(session, "-m", "streamhouse.testing.simulation", *session.posargs)


@checks(default=False)
def differential(session: nox.Session) -> None:
    """Many random queries on a log and on plain DuckDB: ``nox -s differential -- --queries 50000``."""
    python(session, "-m", "tests.sql.differential", *session.posargs)


@checks(default=False)
def soak(session: nox.Session) -> None:
    """Kill real processes, or run many at once: ``nox -s soak -- kill --runs 500``."""
    python(session, "-m", "tests.soak", *session.posargs)


@checks(default=False)
def kafka_python(session: nox.Session) -> None:
    """kafka-python's own integration tests against a gateway: what is known not to pass, and nothing else."""
    python(session, "-m", "tests.kafka.kafka_python", *session.posargs)


@nox.session(reuse_venv=True, default=False)
def bench(session: nox.Session) -> None:
    """Measure speed, in ratios that hold on any machine."""
    session.install("--quiet", "--editable", ".[cli,fast,kafka,test]", *group("test", "bench"))
    session.run("python", "-m", "tests.bench", *session.posargs)


@nox.session(reuse_venv=True, default=False)
def mindeps(session: nox.Session) -> None:
    """The tests, on the lowest versions that pyproject.toml allows."""
    runtime = [*PROJECT["project"]["dependencies"], *(each for name in RUNTIME for each in EXTRAS[name])]
    floors = [requirement.replace(">=", "==") for requirement in runtime]
    session.install("--quiet", "--editable", f".[{','.join(EXTRAS)}]", *floors, *group("test"))
    session.run("python", *TESTS, *session.posargs)


@nox.session(default=False)
@nox.parametrize("extra", ["none", *EXTRAS])
def extras(session: nox.Session, extra: str) -> None:
    """Each extra, installed alone, can be imported; what is missing is named with the pip line."""
    session.install("--quiet", "." if extra == "none" else f".[{extra}]", silent=True)
    session.chdir(session.create_tmp())
    session.run("python", "-I", "-c", "import streamhouse; streamhouse.Log('memory://').close()")
    if extra == "cli":
        session.run("streamctl", "--help", silent=True)
    else:
        session.run("streamctl", "--help", success_codes=[3])
    if extra == "test":
        session.run("python", "-I", "-c", IMPORT_TEST_KIT)
    library = "isal.isal_zlib" if extra == "fast" else "zlib"
    checksum = f"import {library}, streamhouse.format.checksum as own; assert own.crc32 is {library}.crc32"
    session.run("python", "-I", "-c", checksum)
    session.run("python", "-I", "-W", "ignore", "-c", SERVE, success_codes=[0 if extra == "kafka" else 1])
    picture = "import streamhouse; streamhouse.Log('memory://').create_topic('t').plot()"
    session.run(
        "python", "-I", "-W", "ignore", "-c", picture, success_codes=[0 if extra == "notebook" else 1]
    )
