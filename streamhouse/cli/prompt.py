"""``streamctl sql`` without a query: a prompt for SQL.

A statement may have several lines and ends with a semicolon. Ctrl-C drops what is written, or ends the query
that runs; Ctrl-D leaves. Errors are shown, and that is all.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

from streamhouse.cli import was_terminated
from streamhouse.cli.dots import Dots, DotsError
from streamhouse.cli.output import flush, print_text
from streamhouse.cli.results import ResultFormat, write_result
from streamhouse.errors import MissingExtraError, StreamhouseError
from streamhouse.log import Log
from streamhouse.runtime import environment
from streamhouse.sql.mentions import tokens

try:
    from prompt_toolkit import PromptSession
    from prompt_toolkit.filters import Condition
    from prompt_toolkit.history import FileHistory, History, InMemoryHistory
    from prompt_toolkit.lexers import PygmentsLexer

    from streamhouse.cli.completion import SqlCompleter, columns_of_log, words_of_duckdb
except ImportError as error:
    raise MissingExtraError(f"the prompt needs {error.name}; run: pip install 'streamhouse[cli]'") from error

_PROMPT: Final = "sql> "
_CONTINUED: Final = "...> "


class Prompt:
    """Asks for statements and runs them.

    Args:
        log: The log.
        form: How results are written.
        as_of: The commit or time as of which the log is seen; now by default.
    """

    def __init__(self, log: Log, form: ResultFormat, as_of: Any) -> None:
        self._log = log
        self._dots = Dots(log, form, as_of)
        self._session: PromptSession[str] = PromptSession(
            history=_history(),
            completer=SqlCompleter(
                lambda: list(log.topics), partial(columns_of_log, log), partial(words_of_duckdb, log)
            ),
            complete_while_typing=False,
            multiline=Condition(lambda: not is_complete(self._session.default_buffer.text)),
            prompt_continuation=_CONTINUED,
            lexer=_lexer(),
            enable_history_search=True,
        )

    def run(self) -> None:
        """Ask until there is no more to ask."""
        print_text(f"SQL over {self._log.url}. A statement ends with ; and .help shows what else there is.")
        flush()
        while self._dots.open:
            try:
                text = self._session.prompt(_PROMPT).strip()
            except EOFError:
                break
            except KeyboardInterrupt:
                if was_terminated():
                    raise
                continue
            if text:
                self._shown(partial(self._answer, text))

    def _answer(self, text: str) -> None:
        if text[0] in ".\\":
            self._dots.run(text)
            return
        if not has_words(text):
            return
        begun = time.monotonic()
        result = self._log.sql(text, as_of=self._dots.as_of)
        write_result(result, self._dots.form, width=_width())
        if self._dots.timer:
            print_text(f"{(time.monotonic() - begun) * 1000:,.1f} ms")

    def _shown(self, work: Callable[[], None]) -> None:
        """Do something, and show what is wrong with it."""
        try:
            work()
        except (StreamhouseError, DotsError) as error:
            print_text(str(error))
        except KeyboardInterrupt:
            if was_terminated():
                raise
            print_text("interrupted")
        flush()


def is_complete(text: str) -> bool:
    """Whether Enter sends a text off: a statement with its semicolon, a command, or nothing."""
    stripped = text.strip()
    if not stripped or stripped[0] in ".\\":
        return True
    found = [(token.strip(), kind) for token, kind in tokens(text)]
    code = [token for token, kind in found if kind != "comment" and token]
    return not code or code[-1] == ";"


def has_words(text: str) -> bool:
    """Whether there is anything but comments and semicolons in a text."""
    return any(kind != "comment" and token.strip() not in {"", ";"} for token, kind in tokens(text))


def _width() -> int | None:
    try:
        return os.get_terminal_size().columns
    except OSError:
        return None


def _history() -> History:
    """What was asked before, in the folder where programs keep such things; in memory where there is none."""
    variables = environment()
    base = variables.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")  # noqa: PTH111
    folder = Path(base, "streamhouse")
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = folder / "sql_history"
        path.touch(mode=0o600)
    except OSError:
        return InMemoryHistory()
    return FileHistory(str(path))


def _lexer() -> Any:
    try:
        from pygments.lexers.sql import SqlLexer
    except ImportError:
        return None
    return PygmentsLexer(SqlLexer)
