"""A headless browser that says what a page does: its errors, its requests, what it shows."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="needs the browser chromium")


class Page:
    """A page in a browser that is spoken to through two pipes.

    Attributes:
        events: what the browser has told of the page, in order.
    """

    def __init__(self, commands: int, answers: int) -> None:
        self.events: list[dict[str, Any]] = []
        self._commands = commands
        self._answers = answers
        self._number = 0
        self._session: str | None = None

    def open(self, url: str) -> None:
        """Go to a page, and wait until it is loaded."""
        target = self._ask("Target.createTarget", url="about:blank")["targetId"]
        attached = self._ask("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Network", "Log", "Runtime"):
            self._ask(f"{domain}.enable")
        self._ask("Page.navigate", url=url)
        while not any(event["method"] == "Page.loadEventFired" for event in self.events):
            self.events.append(self._next())

    def value(self, expression: str) -> Any:
        """Return what an expression is on the page."""
        found = self._ask("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"]["value"]

    def told(self, method: str) -> list[dict[str, Any]]:
        """Return what the browser has told of one kind."""
        return [event["params"] for event in self.events if event["method"] == method]

    def _ask(self, method: str, **parameters: Any) -> Any:
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                return answer["result"]
            self.events.append(answer)

    def _next(self) -> dict[str, Any]:
        data = b""
        while not data.endswith(b"\0"):
            byte = os.read(self._answers, 1)
            assert byte, "the browser has gone"
            data += byte
        message: dict[str, Any] = json.loads(data[:-1])
        return message


@contextmanager
def browser(profile: Path) -> Iterator[Page]:
    """Start a browser that is gone afterwards."""
    assert CHROMIUM is not None
    theirs, commands = os.pipe()
    answers, ours = os.pipe()

    # The browser reads commands from 3 and answers on 4.
    script = f'exec "$@" 3<&{theirs} 4>&{ours}'
    arguments = [
        CHROMIUM,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--remote-debugging-pipe",
        f"--user-data-dir={profile}",
    ]
    process = subprocess.Popen(
        ["bash", "-c", script, "bash", *arguments],
        pass_fds=(theirs, ours),
        stderr=subprocess.DEVNULL,
    )
    os.close(theirs)
    os.close(ours)
    try:
        yield Page(commands, answers)
    finally:
        os.close(commands)
        os.close(answers)
        process.kill()
        process.wait()
