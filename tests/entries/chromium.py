"""A real browser for tests: Debian's chromium, headless, with a profile of its own and no network.

`dumped` loads a file, lets its scripts run and returns what the document is then. A driver, a
script that is put into a copy of the page, stands for the person who clicks and types.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path

CHROMIUM = shutil.which("chromium")
_SECONDS_MAX = 120
_SWITCHES = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--proxy-server=127.0.0.1:1",
)


def dumped(page: Path, fragment: str = "", *, width: int = 1280, script: str = "") -> str:
    """Return the document after its scripts, and then `script`, have run."""
    assert CHROMIUM is not None
    if script:
        text = page.read_text("utf-8")
        start = text.index('<meta http-equiv="Content-Security-Policy"')
        text = text[:start] + text[text.index(">", start) + 1 :]
        page = page.with_name(f"driven-{page.name}")
        page.write_text(text.replace("</body>", f"<script>{script}</script></body>"), "utf-8")
    profile = page.parent / "chromium"
    command = [
        CHROMIUM,
        *_SWITCHES,
        f"--user-data-dir={profile}",
        f"--window-size={width},900",
        "--dump-dom",
        page.as_uri() + fragment,
    ]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        env={**os.environ, "HOME": str(page.parent)},
    )
    try:
        output, trouble = process.communicate(timeout=_SECONDS_MAX)
    finally:
        os.killpg(process.pid, signal.SIGKILL) if process.poll() is None else None
        process.wait()
        shutil.rmtree(profile, ignore_errors=True)
    assert process.returncode == 0, trouble.decode(errors="replace")
    return output.decode()
