"""The admin API as commands use it: what it refuses ends the command, saying why."""

import re
import time
from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import quote

import httpx2
import typer
from rich.console import Console

from gateway.cli.options import fail
from gateway.config import is_header_text

UrlOption = Annotated[str, typer.Option("--url", envvar="UNDERSTUDY_URL", help="The gateway.")]
KeyOption = Annotated[
    str | None, typer.Option("--key", envvar="UNDERSTUDY_KEY", help="An admin key, if the gateway has keys.")
]
ReasonOption = Annotated[str, typer.Option("--reason", help="Why, for those who read the history.")]
TtlOption = Annotated[
    str | None, typer.Option("--ttl", help="Takes itself back after this long: 90s, 30m, 2h, 1d. 30 days at most.")
]
OverrideOption = Annotated[
    bool, typer.Option("--override", help="Allow a larger step than the route's max_step, or its end.")
]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Say what it would come to, and change nothing.")]
WaitOption = Annotated[
    bool, typer.Option("--wait/--no-wait", help="Wait until every replica has it live, for at most 5 seconds.")
]
URL = "http://127.0.0.1:8080"
_WAIT_S, _POLL_S = 5.0, 0.1
_SHOWN = 8  # differences
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
Json = dict[str, Any]


def say(text: str) -> None:
    """On stdout, as it is: no markup, since it may be somebody's reason."""
    Console(soft_wrap=True).print(text, highlight=False, markup=False)


class AdminClient:
    """`with AdminClient(url, key) as admin: admin.get("/routes")`. Whatever goes wrong ends the command."""

    def __init__(self, url: str, key: str | None) -> None:
        if key and not is_header_text(key):
            fail("--key: expected printable ASCII characters without spaces, got others among them (not shown)")
        self._url = url
        headers = {"authorization": f"Bearer {key}"} if key else {}
        self._client = httpx2.Client(timeout=10, headers=headers)

    def __enter__(self) -> "AdminClient":
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def get(self, path: str, **query: Any) -> Json:
        return self.send("GET", path, query=query)

    def version(self, path: str) -> int:
        """The version of a document that stands, to be sent back as If-Match."""
        return int(self.get(path)["version"])

    def send(
        self,
        method: str,
        path: str,
        body: Json | None = None,
        *,
        query: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        absent: bool = False,
    ) -> Json:
        """The answer. With `absent` a 404 of something that is not there is {}."""
        try:
            response = self._client.request(
                method, f"{self._url.rstrip('/')}/admin{path}", json=body, params=query, headers=headers
            )
        except httpx2.HTTPError as error:
            fail(f"{self._url} cannot be reached: {error}. Is the gateway running? --url says where it is.")
        except (httpx2.InvalidURL, ValueError) as error:
            fail(f"this cannot be asked of {self._url}: {error}")
        try:
            document = response.json()
        except ValueError:
            fail(f"expected JSON from {response.url}, got {response.status_code}: is this an Understudy gateway?")
        if response.is_error:
            refusal = document.get("error") or {}
            if absent and response.status_code == 404 and str(refusal.get("code")).endswith("_not_found"):
                return {}
            fail(f"refused ({response.status_code}): {refusal.get('message', document)}")
        return dict(document)

    def change(
        self,
        method: str,
        path: str,
        body: Json,
        *,
        headers: Mapping[str, str] | None = None,
        dry_run: bool = False,
        wait: bool = True,
    ) -> None:
        """Make a change, or only say what it would come to; and wait until it is live everywhere."""
        answer = self.send(method, path, body, query={"dry_run": "1"} if dry_run else None, headers=headers)
        what = next((str(answer[kind]) for kind in ("route", "upstream", "key") if kind in answer), "all routes")
        for one in answer["diff"][:_SHOWN]:
            say(f"{what}: {difference(one)}")
        if len(answer["diff"]) > _SHOWN:
            say(f"{what}: and {len(answer['diff']) - _SHOWN} more")
        for sentence in answer["consequences"]:
            say(f"  {sentence}")
        if dry_run:
            say("This was a dry run: nothing is changed.")
            return
        say(f"Version {answer['version']}, revision {answer['revision']} of the trail ({answer['hash'][:12]}).")
        if wait:
            self._wait(answer["revision"])

    def _wait(self, revision: int) -> None:
        began = time.monotonic()
        while True:
            replicas = self.get("/status")["replicas"]
            late = [one["replica"] for one in replicas if one["revision"] < revision]
            took = time.monotonic() - began
            if not late:
                say(f"Live on all {len(replicas)} replicas." if len(replicas) > 1 else "Live on the one replica.")
                return
            if took > _WAIT_S:
                fail(f"It is accepted, but not live yet on {', '.join(late)}: see understudy status.")
            time.sleep(_POLL_S)


def route_path(route: str) -> str:
    """Slashes percent-encoded, so that no name reads like an endpoint."""
    return f"/routes/{quote(route, safe='')}"


def seconds(ttl: str | None) -> float | None:
    """Of "30m"."""
    if ttl is None:
        return None
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)([smhd]?)", ttl.strip())
    if found is None:
        fail(f"--ttl: expected a time such as 90s, 30m, 2h or 1d, got {ttl!r}")
    return float(found[1]) * _UNITS[found[2]]


def said(reason: str, ttl: str | None = None, override: bool = False) -> Json:
    """What is said of a change besides what it changes."""
    ttl_s = seconds(ttl)
    return {
        "reason": reason,
        **({} if ttl_s is None else {"ttl_s": ttl_s}),
        **({"override": True} if override else {}),
    }


def difference(one: Json) -> str:
    return f"{one['path']} {_told(one['path'], one['from'])} -> {_told(one['path'], one['to'])}"


def _told(path: str, value: Any) -> str:
    share = " %" if path.endswith("_percent") else ""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return f"{value:g}{share}"
    return "nothing" if value is None else text_of(value)


def text_of(value: Any) -> str:
    """A value as people read it."""
    if isinstance(value, list):
        return ", ".join(str(item) for item in value) or "none"
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
