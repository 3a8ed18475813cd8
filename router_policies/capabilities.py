"""What an upstream can do, as far as routing must know it."""

from dataclasses import dataclass
from enum import StrEnum


class Continues(StrEnum):
    """How an upstream is asked to go on with an answer of which the beginning is given.

    `VLLM`: a last assistant message with `continue_final_message` (vLLM). `PREFILL`: a last assistant message is
    continued as it is (llama.cpp). `NO`: it would answer anew.
    """

    VLLM = "vllm"
    PREFILL = "prefill"
    NO = "no"


@dataclass(frozen=True, slots=True)
class Capabilities:
    """`context_tokens`: the longest prompt and answer together, None if not known. `tools`, `vision`: whether requests
    with tools, or with images, may be sent there."""

    context_tokens: int | None = None
    tools: bool = True
    vision: bool = True
    continues: Continues = Continues.NO
