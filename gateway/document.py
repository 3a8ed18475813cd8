"""Reads YAML as a config needs it read: what YAML would take silently is refused, and no error quotes the source.

A line of a config file may hold a secret, so an error says what is wrong and where, never what stands there. The one
exception is a key that is there twice, which is named.
"""

import re
from typing import Any

import yaml
from yaml.error import MarkedYAMLError
from yaml.nodes import MappingNode, Node, ScalarNode

_BOOL = "tag:yaml.org,2002:bool"
# What PyYAML quotes that gives nothing away: its own token names, and one character.
_HARMLESS = re.compile(r"'(?:<[a-z ]+>|.|\\[a-z0-9]{1,9})'")


class DocumentError(Exception):
    """Text that is no YAML, or YAML that is no document. The message has no text of the file in it."""


class _Loader(yaml.SafeLoader):
    def compose_mapping_node(self, anchor: Any) -> MappingNode:
        node: MappingNode = super().compose_mapping_node(anchor)
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, ScalarNode):
                if key.value in seen:
                    raise MarkedYAMLError(
                        problem=f"the key {key.value[:128]} is there twice", problem_mark=key.start_mark
                    )
                seen.add(key.value)
        return node

    def construct_object(self, node: Node, deep: bool = False) -> object:
        try:
            value: object = super().construct_object(node, deep)
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            problem = "expected what looks like a date or a number to be one; put text into quotes"
            raise MarkedYAMLError(problem=problem, problem_mark=node.start_mark) from error
        return value


# Booleans are true and false, as in YAML 1.2: `on` is a key of ours, and no other word for true.
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != _BOOL]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(_BOOL, re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF"))


def read(text: str) -> object:
    """The one document in `text`. Raises `DocumentError`."""
    try:
        return yaml.load(text, _Loader)  # noqa: S506 - a SafeLoader
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f" (line {mark.line + 1}, column {mark.column + 1})" if mark else ""
        raise DocumentError(f"not YAML: {_without_source(error.problem or 'it breaks off')}{where}") from None
    except yaml.YAMLError:
        raise DocumentError("not YAML: it has characters that YAML does not allow") from None
    except RecursionError:
        raise DocumentError("nested too deeply to be read") from None


def _without_source(problem: str) -> str:
    rest = _HARMLESS.sub("", problem)
    return "there is something here that cannot be read" if "'" in rest or '"' in rest else problem
