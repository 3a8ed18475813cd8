"""Chunks of streamed answers, and who puts them together."""

from collections.abc import Iterable
from typing import Any

from router_policies.seam import Seam
from router_policies.transcript import Transcript

Json = dict[str, Any]


def chunk(delta: Json | None = None, *, id: str = "first", **choice: Any) -> Json:
    told = {"index": 0, "finish_reason": None, **({} if delta is None else {"delta": delta}), **choice}
    return {"id": id, "created": len(id), "object": "chat.completion.chunk", "model": f"of {id}", "choices": [told]}


def tool(number: int, arguments: str = "", *, name: str | None = None, id: str | None = None) -> Json:
    head = {} if id is None else {"id": id, "type": "function"}
    function = {**({} if name is None else {"name": name}), "arguments": arguments}
    return {"tool_calls": [{"index": number, **head, "function": function}]}


def transcript(*chunks: Json) -> Transcript:
    said = Transcript()
    for told in chunks:
        said.add(told)
    return said


def spoken(text: str, field: str = "content") -> Transcript:
    return transcript(chunk({"role": "assistant"}), chunk({field: text}))


def relayed(seam: Seam, *chunks: Json) -> list[Json]:
    return [rest for told in chunks if (rest := seam.feed(told)) is not None]


class Client:
    """Puts the chunks of a stream together as OpenAI's client does."""

    def __init__(self, chunks: Iterable[Json]) -> None:
        self.texts: dict[tuple[int, str], str] = {}
        self.heads: dict[tuple[int, int], list[tuple[str | None, str | None]]] = {}
        self.ids: set[str] = set()
        self.roles: list[int] = []
        self.ends: list[int] = []
        self.usages = 0
        for told in chunks:
            self.ids.add((told["id"], told["created"]))
            self.usages += "usage" in told
            for choice in told["choices"]:
                self._take(choice["index"], choice)

    def _take(self, index: int, choice: Json) -> None:
        if choice["finish_reason"]:
            self.ends.append(index)
        for field, value in {"text": choice.get("text"), **choice.get("delta", {})}.items():
            if field == "role":
                self.roles.append(index)
            elif field == "tool_calls":
                for call in value:
                    function = call.get("function", {})
                    self._write(index, f"arguments {call['index']}", function.get("arguments"))
                    if "id" in call or "name" in function:
                        self.heads.setdefault((index, call["index"]), []).append((call.get("id"), function.get("name")))
            else:
                self._write(index, field, value)

    def _write(self, index: int, field: str, value: str | None) -> None:
        if value:
            self.texts[index, field] = self.texts.get((index, field), "") + value


def usage(id: str) -> Json:
    return {**chunk(id=id), "choices": [], "usage": {"prompt_tokens": 1}}
