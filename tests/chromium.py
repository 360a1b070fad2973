"""A headless Chromium driven through its debugging pipe; no driver, no port, no package needed.

Messages are JSON that ends with a zero byte: fd 3 of the browser reads, fd 4 writes
(https://chromedevtools.github.io/devtools-protocol/, ``--remote-debugging-pipe``).
"""

import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
import sys
import time

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")
HOW_TO = "no Chromium on this machine: install it, for example with `apt-get install chromium`"
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
    "--disable-dev-shm-usage", "--disable-component-update", "--disable-sync", "--no-first-run",
    "--hide-scrollbars", "--remote-debugging-pipe",
)  # fmt: skip
# Starts the browser with its two ends of the pipe at fd 3 and 4.
STARTER = (
    "import os, sys; os.dup2(int(sys.argv[1]), 3); os.dup2(int(sys.argv[2]), 4); "
    "os.execv(sys.argv[3], sys.argv[3:])"
)
KEYS = {"Enter": 13, "Escape": 27, "ArrowUp": 38, "ArrowDown": 40, "Tab": 9}


def find_chromium():
    """The browser's path; without one the test fails under CI and is skipped elsewhere."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(HOW_TO)
    return found


class Browser:
    """A running browser; close it with ``with``."""

    def __init__(self, folder):
        # Out of the way of 3 and 4, which the starter overwrites.
        reader, self._write = (_move(fd) for fd in os.pipe())
        self._read, writer = (_move(fd) for fd in os.pipe())
        program = [find_chromium(), *FLAGS, f"--user-data-dir={folder}", "about:blank"]
        self._process = subprocess.Popen(
            [sys.executable, "-c", STARTER, str(reader), str(writer), *program],
            pass_fds=(reader, writer), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(reader)
        os.close(writer)
        self._buffer = b""
        self._number = 0
        self.events = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        try:
            self.call("Browser.close", timeout=10)
            self._process.wait(10)
        except (OSError, AssertionError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()
        finally:
            os.close(self._read)
            os.close(self._write)

    def call(self, method, session=None, timeout=60, **params):
        """Send a command and wait for its answer; events that come meanwhile are kept."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if session:
            message["sessionId"] = session
        unsent = memoryview(json.dumps(message).encode() + b"\0")
        while unsent:
            unsent = unsent[os.write(self._write, unsent) :]
        end = time.monotonic() + timeout
        while True:
            answer = self._receive(end - time.monotonic())
            assert answer is not None, f"Chromium did not answer {method} within {timeout} s"
            if answer.get("id") == self._number:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return answer["result"]
            self.events.append(answer)

    def listen(self, timeout):
        """Wait for one message that no command asked for."""
        message = self._receive(timeout)
        if message is not None:
            self.events.append(message)

    def _receive(self, timeout):
        """The next message, None if none comes in time."""
        while b"\0" not in self._buffer:
            if not select.select([self._read], [], [], max(0, timeout))[0]:
                return None
            data = os.read(self._read, 1 << 20)
            assert data, "Chromium ended"
            self._buffer += data
        message, self._buffer = self._buffer.split(b"\0", 1)
        return json.loads(message)


def _move(fd):
    moved = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 10)
    os.close(fd)
    return moved


class Page:
    """One tab, offline, that keeps what it requested and what went wrong in it."""

    def __init__(self, browser, width=1280, height=900, script=True):
        target = browser.call("Target.createTarget", url="about:blank")["targetId"]
        self._browser = browser
        self._target = target
        self._session = browser.call("Target.attachToTarget", targetId=target, flatten=True)[
            "sessionId"
        ]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        offline = {"offline": True, "latency": 0, "downloadThroughput": 0, "uploadThroughput": 0}
        self.call("Network.emulateNetworkConditions", **offline)
        self.call("Emulation.setScriptExecutionDisabled", value=not script)
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.call("Emulation.setDeviceMetricsOverride", **size)

    def call(self, method, timeout=60, **params):
        return self._browser.call(method, self._session, timeout, **params)

    def close(self):
        """Close the tab; what it kept can still be read."""
        self._browser.call("Target.closeTarget", targetId=self._target)

    def open(self, url):
        """Open an address and wait until it is loaded."""
        before = len(self._events("Page.loadEventFired"))
        answer = self.call("Page.navigate", url=url)
        assert "errorText" not in answer, answer
        end = time.monotonic() + 60
        while len(self._events("Page.loadEventFired")) == before:
            assert time.monotonic() < end, f"not loaded within 60 s: {url}"
            self._browser.listen(0.1)

    def evaluate(self, expression):
        """The value of a JavaScript expression; an exception in it fails the test."""
        answer = self.call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def wait_for(self, expression, timeout=60):
        end = time.monotonic() + timeout
        while not self.evaluate(expression):
            assert time.monotonic() < end, f"not within {timeout} s: {expression}\n{self.errors()}"
            time.sleep(0.05)

    def type(self, text):
        """Press the key of each character."""
        for character in text:
            key = {"key": character, "text": character, "unmodifiedText": character}
            self.call("Input.dispatchKeyEvent", type="keyDown", **key)
            self.call("Input.dispatchKeyEvent", type="keyUp", key=character)

    def press(self, key):
        code = {"key": key, "code": key, "windowsVirtualKeyCode": KEYS[key]}
        self.call("Input.dispatchKeyEvent", type="rawKeyDown", **code)
        self.call("Input.dispatchKeyEvent", type="keyUp", **code)

    def move(self, x, y):
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def click(self, x, y):
        self.move(x, y)
        for kind in ("mousePressed", "mouseReleased"):
            button = {"x": x, "y": y, "button": "left", "clickCount": 1}
            self.call("Input.dispatchMouseEvent", type=kind, **button)

    def screenshot(self, path, whole=False):
        shot = {"format": "png", "captureBeyondViewport": whole}
        if whole:
            size = self.call("Page.getLayoutMetrics")["cssContentSize"]
            shot["clip"] = {**size, "x": 0, "y": 0, "scale": 1}
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", **shot)["data"]))

    def _events(self, method):
        return [
            event["params"]
            for event in self._browser.events
            if event.get("sessionId") == self._session and event["method"] == method
        ]

    def requests(self):
        """Addresses of all requests, without what follows the kind of a data address."""
        return [
            event["request"]["url"][:200] for event in self._events("Network.requestWillBeSent")
        ]

    def errors(self):
        """Uncaught exceptions, errors on the console and errors in the log."""
        exceptions = [one["exceptionDetails"] for one in self._events("Runtime.exceptionThrown")]
        printed = [one for one in self._events("Runtime.consoleAPICalled")
                   if one["type"] in ("error", "assert", "warning")]  # fmt: skip
        logged = [one["entry"] for one in self._events("Log.entryAdded")
                  if one["entry"]["level"] in ("error", "warning")]  # fmt: skip
        return exceptions + printed + logged
