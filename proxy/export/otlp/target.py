"""Where spans go and how: from the settings, and where they name no endpoint from the variables of OpenTelemetry."""

from __future__ import annotations

from collections.abc import Mapping
from typing import get_args
from urllib.parse import unquote, urlsplit

import msgspec

from turnwise.errors import SettingsError
from turnwise.settings import TraceProtocol, TraceSettings

PATH = "/v1/traces"
_PREFIX = "OTEL_EXPORTER_OTLP_"
_TRACES = "OTEL_EXPORTER_OTLP_TRACES_"
_MS = 1000.0


class Target(msgspec.Struct, frozen=True):
    """An OTLP endpoint. `url` is whole for HTTP; of gRPC only its scheme, host and port count."""

    url: str
    protocol: TraceProtocol
    timeout_s: float
    headers: Mapping[str, str]
    is_gzip: bool = False

    @property
    def address(self) -> str:
        """`host:port`."""
        parts = urlsplit(self.url)
        host, port = parts.hostname or "", parts.port
        if port is None:
            port = 443 if self.is_secure else (4317 if self.protocol == "grpc" else 80)
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    @property
    def is_secure(self) -> bool:
        """Whether TLS is spoken."""
        return self.url.startswith("https:")


def find_target(settings: TraceSettings, environ: Mapping[str, str]) -> Target | None:
    """Say where spans go; None where nowhere.

    An endpoint in the settings is sent to as the settings say. Without one `OTEL_EXPORTER_OTLP_TRACES_*`, then
    `OTEL_EXPORTER_OTLP_*` say where and how, and what they leave open is as in the settings. Headers and compression are theirs
    alone.
    `OTEL_SDK_DISABLED=true` sends nothing. Raises `SettingsError` naming a variable whose value cannot be used.
    """
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return None
    headers = _headers(environ)
    is_gzip = _compression(environ)
    if settings.endpoint:
        url = _checked(settings.endpoint, "`traces.endpoint`")
        return Target(_with_path(url), settings.protocol, settings.timeout_s, headers, is_gzip)
    name, endpoint = _variable(environ, "ENDPOINT")
    if not endpoint:
        return None
    protocol = _protocol(environ, settings.protocol)
    if protocol == "grpc" and "://" not in endpoint:
        endpoint = f"http://{endpoint}"
    url = _checked(endpoint, name)
    # The general endpoint is a base; that of traces is used as it stands.
    url = url if name.startswith(_TRACES) else url.rstrip("/") + PATH
    return Target(url, protocol, _timeout_s(environ, settings.timeout_s), headers, is_gzip)


def _variable(environ: Mapping[str, str], what: str) -> tuple[str, str]:
    """The variable that counts, and its value; empty where neither is set."""
    for prefix in (_TRACES, _PREFIX):
        value = environ.get(prefix + what, "").strip()
        if value:
            return prefix + what, value
    return _PREFIX + what, ""


def _with_path(url: str) -> str:
    return url if urlsplit(url).path.endswith(PATH) else url.rstrip("/") + PATH


def _checked(url: str, name: str) -> str:
    try:
        parts = urlsplit(url)
        is_usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_usable = False
    if not is_usable:
        raise SettingsError(f"{name}: {url}: write http://host:port or https://host:port")
    return url


def _protocol(environ: Mapping[str, str], default: TraceProtocol) -> TraceProtocol:
    name, value = _variable(environ, "PROTOCOL")
    if not value:
        return default
    try:
        protocol: TraceProtocol = msgspec.convert(value, TraceProtocol)
    except msgspec.ValidationError:
        raise SettingsError(f"{name}: {value}: must be one of {', '.join(get_args(TraceProtocol))}") from None
    return protocol


def _timeout_s(environ: Mapping[str, str], default_s: float) -> float:
    """The variable counts milliseconds."""
    name, value = _variable(environ, "TIMEOUT")
    if not value:
        return default_s
    if not value.isdecimal() or int(value) == 0:
        raise SettingsError(f"{name}: {value}: must be a whole number of milliseconds above 0")
    return int(value) / _MS


def _compression(environ: Mapping[str, str]) -> bool:
    name, value = _variable(environ, "COMPRESSION")
    if value not in {"", "none", "gzip"}:
        raise SettingsError(f"{name}: {value}: must be gzip or none")
    return value == "gzip"


def _headers(environ: Mapping[str, str]) -> dict[str, str]:
    """`key=value` pairs between commas, percent-encoded; those for traces go before the general ones."""
    found: dict[str, str] = {}
    for prefix in (_PREFIX, _TRACES):
        name = f"{prefix}HEADERS"
        for pair in environ.get(name, "").split(","):
            key, separator, value = pair.partition("=")
            if not pair.strip():
                continue
            field, content = unquote(key.strip()).lower(), unquote(value.strip())
            both = field + content
            if not separator or not field or not both.isascii() or not both.isprintable():
                # Without its value, which may be a secret.
                raise SettingsError(f"{name}: write key=value pairs between commas, of printable ASCII characters")
            found[field] = content
    return found
