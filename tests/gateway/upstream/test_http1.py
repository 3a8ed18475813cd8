"""Reading responses: the same bytes give the same response however they are split; what is no response is refused."""

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.upstream.faults import FaultKind, UpstreamFault
from gateway.upstream.http1 import MAX_HEAD_BYTES, ResponseReader

OK = b"HTTP/1.1 200 OK\r\n"


def read(pieces: list[bytes], *, eof: bool = True) -> dict[str, Any]:
    """What a reader shows after `pieces`, and the end of the stream if `eof`: a response or a fault's kind."""
    reader = ResponseReader()
    body = b""
    try:
        for piece in pieces:
            reader.feed(piece)
            body += reader.take_body()
        if eof:
            reader.end_of_stream()
    except UpstreamFault as fault:
        return {"fault": fault.kind}
    return {
        "status": reader.status,
        "headers": reader.headers,
        "body": body,
        "complete": reader.complete,
        "reusable": reader.reusable,
    }


def split_at(data: bytes, cuts: list[int]) -> list[bytes]:
    ends = sorted({cut % (len(data) + 1) for cut in cuts} | {len(data)})
    return [data[start:end] for start, end in zip([0, *ends], ends, strict=False) if start < end]


# Generating valid responses together with what they mean.

tokens = st.text("abcdefghijklmnopqrstuvwxyz-", min_size=1, max_size=12).map(lambda name: f"x-{name}".encode())
values = st.text("abc XYZ/;=,\"'\t()", max_size=20).map(lambda value: value.strip().encode())
fields = st.lists(st.tuples(tokens, values), max_size=5)
bodies = st.binary(max_size=300)


def lines(headers: list[tuple[bytes, bytes]]) -> bytes:
    return b"".join(b"%b: %b\r\n" % field for field in headers)


@st.composite
def informational(draw: st.DrawFn) -> bytes:
    status = draw(st.sampled_from([100, 102, 103]))
    return b"HTTP/1.1 %d Wait\r\n%b\r\n" % (status, lines(draw(fields)))


@st.composite
def responses(draw: st.DrawFn) -> tuple[bytes, dict[str, Any]]:
    """(bytes on the wire, what must be read)."""
    status = draw(st.sampled_from([200, 201, 204, 304, 400, 404, 429, 500, 503]))
    headers = draw(fields)
    body = b"" if status in (204, 304) else draw(bodies)
    framing = "none" if status in (204, 304) else draw(st.sampled_from(["length", "chunked", "close"]))
    close = framing == "close" or draw(st.booleans())
    head = list(headers)
    if framing == "length":
        head.append((b"content-length", str(len(body)).encode()))
    elif framing == "chunked":
        head.append((b"transfer-encoding", draw(st.sampled_from([b"chunked", b"Chunked"]))))
    if close and framing != "close":
        head.append((b"connection", b"close"))
    wire = b"HTTP/1.1 %d Reason\r\n%b\r\n" % (status, lines(head))
    if framing == "chunked":
        extension = draw(st.sampled_from([b"", b";a=b", b';q="x"']))
        for piece in split_at(body, draw(st.lists(st.integers(0, 300), max_size=4))):
            wire += b"%x%b\r\n%b\r\n" % (len(piece), extension, piece)
        wire += b"0\r\n%b\r\n" % lines(draw(fields))
    else:
        wire += body
    before = b"".join(draw(st.lists(informational(), max_size=2)))
    meaning = {"status": status, "headers": head, "body": body, "complete": True, "reusable": not close}
    return before + wire, meaning


cuts = st.lists(st.integers(0, 2000), max_size=12)


@given(responses(), cuts)
def test_any_split_of_a_response_reads_the_same(response: tuple[bytes, dict[str, Any]], at: list[int]) -> None:
    wire, meaning = response
    assert read(split_at(wire, at)) == meaning


@given(responses())
def test_byte_by_byte_reads_the_same(response: tuple[bytes, dict[str, Any]]) -> None:
    wire, meaning = response
    assert read([bytes([byte]) for byte in wire]) == meaning


@given(responses(), st.integers(0, 2000))
def test_a_response_cut_short_is_never_whole(response: tuple[bytes, dict[str, Any]], cut: int) -> None:
    """Save for the body that ends with the connection, where a cut cannot be told from the end."""
    wire, meaning = response
    short = wire[: cut % len(wire)]
    result = read([short])
    if "fault" in result:
        assert result["fault"] in (FaultKind.RESET, FaultKind.TRUNCATED)
    else:
        framed = any(name in (b"content-length", b"transfer-encoding") for name, _ in meaning["headers"])
        assert not framed
        assert meaning["body"].startswith(result["body"])


@given(st.binary(max_size=400), cuts)
@example(b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", [])
@example(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", [])
def test_any_bytes_give_a_response_or_a_typed_fault(data: bytes, at: list[int]) -> None:
    whole = read([data] if data else [])
    assert whole == read(split_at(data, at))
    assert "fault" in whole or whole["complete"]


@given(responses(), st.binary(min_size=1, max_size=40), cuts)
def test_garbage_inside_a_response_never_escapes_as_another_exception(
    response: tuple[bytes, dict[str, Any]], garbage: bytes, at: list[int]
) -> None:
    wire, _ = response
    for cut in at or [0]:
        place = cut % (len(wire) + 1)
        read([wire[:place] + garbage + wire[place:]])


@pytest.mark.parametrize(
    ("wire", "said"),
    [
        (b"hello\r\n\r\n", "not an HTTP response"),
        (OK + b"content-length: 3\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", "not an HTTP response"),
        (OK + b"content-length: 3\r\ncontent-length: 4\r\n\r\nabc", "not an HTTP response"),
        (OK + b"transfer-encoding: gzip\r\n\r\nabc", "other than chunked"),
        *((b"HTTP/1.1 %b Odd\r\n\r\n" % status, "the status") for status in (b"000", b"099", b"600", b"999")),
        (b"HTTP/1.1 101 Switching\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n", "switched protocols"),
        (OK + b"x: " + b"a" * (MAX_HEAD_BYTES + 1) + b"\r\n\r\n", "header fields over"),
        (OK + b"x: y\r\n" * 20_000 + b"\r\n", "header fields over"),
    ],
)
@pytest.mark.parametrize("size", [1, 7, 1_000_000])
def test_what_is_refused_and_what_is_said(wire: bytes, said: str, size: int) -> None:
    reader = ResponseReader()
    with pytest.raises(UpstreamFault, match=said) as caught:
        for start in range(0, len(wire), size):
            reader.feed(wire[start : start + size])
    assert caught.value.kind is FaultKind.INVALID


def test_headers_that_never_end_are_refused_before_they_fill_memory() -> None:
    reader = ResponseReader()
    reader.feed(OK + b"x: ")
    with pytest.raises(UpstreamFault, match="header fields over"):
        for _ in range(3 * MAX_HEAD_BYTES // 1000):
            reader.feed(b"a" * 1000)


@pytest.mark.parametrize("surplus", [b"x", b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\ny"])
@pytest.mark.parametrize("together", [True, False])
def test_bytes_nobody_asked_for_make_the_connection_unusable(surplus: bytes, together: bool) -> None:
    wire = OK + b"content-length: 3\r\n\r\nabc"
    result = read([wire + surplus] if together else [wire, surplus], eof=False)
    assert result["body"] == b"abc"
    assert result["complete"]
    assert not result["reusable"]


def test_a_reader_reads_one_response_after_another() -> None:
    reader = ResponseReader()
    for number in range(3):
        reader.feed(OK + b"content-length: 1\r\n\r\n%d" % number)
        assert (reader.take_body(), reader.reusable) == (str(number).encode(), True)
        reader.reset()


def test_http_1_0_ends_with_the_connection() -> None:
    assert read([b"HTTP/1.0 200 OK\r\n\r\nab", b"c"])["body"] == b"abc"
