"""Chromium without a window, driven through its debugging pipe."""

import base64
import json
import os
import select
import shutil
import subprocess
import time
from contextlib import contextmanager

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
ANSWER_S = 60

# Text of what can be seen in the window, shadow trees too.
VISIBLE = """
(() => {
  const found = [];
  const walk = node => {
    if (node.nodeType === 3) {
      const text = node.textContent.trim();
      if (!text || !node.parentElement) return;
      const range = document.createRange();
      range.selectNodeContents(node);
      const box = range.getBoundingClientRect();
      const style = getComputedStyle(node.parentElement);
      if (box.width && box.height && box.left < innerWidth && box.right > 0 &&
          box.top < innerHeight && box.bottom > 0 && style.visibility !== "hidden")
        found.push(text);
      return;
    }
    if (["SCRIPT", "STYLE", "TEMPLATE"].includes(node.nodeName)) return;
    if (node.shadowRoot) walk(node.shadowRoot);
    const children = node.nodeName === "SLOT" ? node.assignedNodes() : node.childNodes;
    if (!(node.shadowRoot && node.nodeType === 1)) children.forEach(walk);
  };
  walk(document.body);
  return found;
})()
"""


class Browser:
    """One page of a browser."""

    def __init__(self, process, read, write):
        self._process, self._read, self._write = process, read, write
        self._number, self._rest, self.errors = 0, b"", []
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        attached = self.ask("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Network"):
            self.tell(f"{domain}.enable")

    def _answer(self, number):
        until = time.monotonic() + ANSWER_S
        while True:
            while b"\0" not in self._rest:
                left = until - time.monotonic()
                if left <= 0 or not select.select([self._read], [], [], left)[0]:
                    raise TimeoutError("the browser does not answer")
                self._rest += os.read(self._read, 1 << 20)
            text, _, self._rest = self._rest.partition(b"\0")
            message = json.loads(text)
            if message.get("method") == "Runtime.exceptionThrown":
                self.errors.append(message["params"]["exceptionDetails"])
            if message.get("method") == "Network.requestWillBeSent":
                self.requests.append(message["params"]["request"]["url"])
            if message.get("id") == number:
                if "error" in message:
                    raise RuntimeError(message["error"])
                return message["result"]

    requests: list = []

    def ask(self, method, session=None, **parameters):
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if session:
            message["sessionId"] = session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        return self._answer(self._number)

    def tell(self, method, **parameters):
        return self.ask(method, self._session, **parameters)

    def size(self, width, height, mobile=False):
        self.tell("Emulation.setDeviceMetricsOverride", width=width, height=height,
                  deviceScaleFactor=1, mobile=mobile)  # fmt: skip

    def media(self, **features):
        """Choose ``media="print"``, or features as ``prefers_color_scheme="dark"``."""
        kind = features.pop("media", "")
        chosen = [{"name": n.replace("_", "-"), "value": v} for n, v in features.items()]
        self.tell("Emulation.setEmulatedMedia", media=kind, features=chosen)

    def open(self, address):
        self.requests = []
        self.tell("Page.navigate", url=str(address))
        self.until("document.readyState === 'complete'")

    def js(self, expression):
        found = self.tell(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        if "exceptionDetails" in found:
            raise RuntimeError(found["exceptionDetails"])
        return found["result"].get("value")

    def until(self, condition, seconds=60):
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if found := self.js(condition):
                return found
            time.sleep(0.1)
        raise AssertionError(f"{condition} did not come to hold; seen: {self.visible()[:80]}")

    def visible(self):
        """Return the texts that can be seen in the window."""
        return self.js(VISIBLE)

    def until_visible(self, *texts, seconds=60):
        until = time.monotonic() + seconds
        while set(texts) - set(seen := self.visible()) and time.monotonic() < until:
            time.sleep(0.2)
        assert not set(texts) - set(seen), (set(texts) - set(seen), seen)
        return seen

    def click(self, x, y):
        for kind in ("mousePressed", "mouseReleased"):
            self.tell("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def hover(self, x, y):
        self.tell("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def key(self, name, code):
        for kind in ("keyDown", "keyUp"):
            self.tell("Input.dispatchKeyEvent", type=kind, key=name, code=name,
                      windowsVirtualKeyCode=code, text="\r" if name == "Enter" else "")  # fmt: skip

    def picture(self, path, whole=False):
        found = self.tell("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(found["data"]))

    def pdf(self):
        return base64.b64decode(self.tell("Page.printToPDF", preferCSSPageSize=True)["data"])


@contextmanager
def browser(profile):
    """Open Chromium with a folder of its own."""
    to_read, to_answer = os.pipe(), os.pipe()
    # Chromium reads what it is told from 3 and answers on 4.
    script = f'exec 3<&{to_read[0]} 4>&{to_answer[1]}; exec "$@"'
    words = "headless no-sandbox disable-gpu hide-scrollbars no-first-run disable-sync "
    words += "disable-background-networking disable-component-update remote-debugging-pipe"
    command = [CHROMIUM, *(f"--{word}" for word in words.split()), f"--user-data-dir={profile}"]
    process = subprocess.Popen(
        ["bash", "-c", script, "bash", *command],
        pass_fds=(to_read[0], to_answer[1]),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(to_read[0])
    os.close(to_answer[1])
    try:
        yield Browser(process, to_answer[0], to_read[1])
    finally:
        process.terminate()
        process.wait(timeout=20)
        os.close(to_answer[0])
        os.close(to_read[1])
