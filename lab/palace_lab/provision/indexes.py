"""Where packages come from: passing to uv what the user told uv, or else what they told pip.

Rules. uv keeps its own configuration; where it has none, pip's index, certificate or wheelhouse
is passed on, because uv does not read pip's files. Extra indexes are not passed on: uv asks them
first and alone for every name they have, and a pinned version they lack would then be missing.
"""

from __future__ import annotations

import configparser
import contextlib
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

#: Would point uv, or the Python it asks, at something other than what we name.
_DISTRACTIONS = frozenset(
    (
        *("VIRTUAL_ENV", "CONDA_PREFIX", "PYTHONPATH", "PYTHONHOME", "UV_PYTHON"),
        *("UV_SYSTEM_PYTHON", "UV_TARGET", "UV_PREFIX", "UV_PROJECT", "UV_PROJECT_ENVIRONMENT"),
        *("UV_CONSTRAINT", "UV_OVERRIDE", "UV_EXCLUDE_NEWER", "UV_RESOLUTION", "UV_PRERELEASE"),
        *("UV_NO_BINARY", "UV_NO_DEPS", "UV_REQUIRE_HASHES"),
    )
)

_UV_INDEX_WORDS = ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_INDEX", "UV_NO_INDEX", "UV_CONFIG_FILE")


def uv_environment(
    environ: Mapping[str, str], *, pip_files: Sequence[Path] | None = None
) -> dict[str, str]:
    """Return the environment variables uv is run with: the user's, and what pip was told."""
    result = {name: value for name, value in environ.items() if name not in _DISTRACTIONS}
    home = Path(environ.get("HOME", "/"))
    pip = _pip_settings(environ, _pip_files(environ, home) if pip_files is None else pip_files)
    if not _uv_knows_its_index(environ, home):
        if pip.get("no-index", "").lower() in {"1", "true", "yes", "on"}:
            result["UV_NO_INDEX"] = "1"
            result["UV_FIND_LINKS"] = ",".join(pip.get("find-links", "").split())
        elif index := pip.get("index-url"):
            result["UV_DEFAULT_INDEX"] = index
    certificate = pip.get("cert", "")
    if "SSL_CERT_FILE" not in environ and certificate and Path(certificate).is_file():
        result["SSL_CERT_FILE"] = certificate
    return result


def _uv_knows_its_index(environ: Mapping[str, str], home: Path) -> bool:
    if any(environ.get(name) for name in _UV_INDEX_WORDS):
        return True
    config = Path(environ.get("XDG_CONFIG_HOME") or home / ".config")
    return any((place / "uv" / "uv.toml").is_file() for place in (config, Path("/etc")))


def _pip_files(environ: Mapping[str, str], home: Path) -> list[Path]:
    """List pip's configuration files, the weakest first, as its documentation orders them."""
    chosen = environ.get("PIP_CONFIG_FILE")
    if chosen == os.devnull:
        return []
    config = Path(environ.get("XDG_CONFIG_HOME") or home / ".config")
    shared = [Path("/etc/xdg/pip/pip.conf"), Path("/etc/pip.conf")]
    own = [home / ".pip" / "pip.conf", config / "pip" / "pip.conf", Path(sys.prefix) / "pip.conf"]
    return [*shared, *own, *([Path(chosen)] if chosen else [])]


def _pip_settings(environ: Mapping[str, str], files: Sequence[Path]) -> dict[str, str]:
    parser = configparser.RawConfigParser()
    # pip would refuse a malformed file when asked; uv works without what it says.
    with contextlib.suppress(configparser.Error, UnicodeDecodeError):
        parser.read(files, encoding="utf-8")
    settings: dict[str, str] = {}
    for section in ("global", "install"):
        if parser.has_section(section):
            settings.update((key.replace("_", "-"), value) for key, value in parser.items(section))
    for key in ("index-url", "no-index", "find-links", "cert"):
        value = environ.get("PIP_" + key.upper().replace("-", "_"))
        if value:
            settings[key] = value
    return settings
