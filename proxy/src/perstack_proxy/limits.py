"""Bounds that both ends of a pipe must agree on, each with its reason."""

from __future__ import annotations

from typing import NamedTuple

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB

#: Largest image that a tool returns. The original's figure.
IMAGE_BYTES = 15 * MIB
#: Largest PDF that a tool returns. The original's figure.
PDF_BYTES = 30 * MIB

#: Longest line that a client accepts from a server: the largest PDF in base64 (4/3 of it) and its envelope.
RESULT_LINE_BYTES = 4 * PDF_BYTES // 3 + 4 * MIB
#: Longest line that a server accepts from a client: a text to write, escaped, and its envelope.
REQUEST_LINE_BYTES = 16 * MIB
#: Deepest nesting of a message. Tool schemas of real servers stay under 20; Python's own limit is near 1,000.
MESSAGE_DEPTH = 64
#: Most JSON values in one message. A value costs up to 20 times its bytes in memory, so bytes alone do not bound it.
MESSAGE_VALUES = 500_000
#: Longest request id. A UUID has 36 characters.
ID_CHARACTERS = 128
#: Longest method name. The longest of the protocol has 38 characters.
METHOD_CHARACTERS = 128
#: Most digits of a whole number that a person writes; as many always fit into the 64 bits that JSON readers have.
NUMBER_DIGITS = 18
#: Longest line of a skill's stderr that is kept; the rest of the line is dropped with a marker.
STDERR_LINE_BYTES = 8 * KIB
#: Longest text that goes to a terminal or a log line in one piece.
DISPLAY_CHARACTERS = 4_000

#: Time that a process tree has between SIGTERM and SIGKILL, in seconds.
TERM_GRACE_SECONDS = 2.0
#: Time in which a killed tree must be gone, in seconds. A kernel needs milliseconds; a loaded machine needs more.
KILL_SETTLE_SECONDS = 5.0

#: Longest CONNECT request with its headers. Real ones have under 1,000 bytes; common proxies stop at 8,192.
CONNECT_HEAD_BYTES = 8 * KIB
#: Most header lines of a CONNECT request. Real ones have under ten.
CONNECT_HEADERS = 32
#: Longest ClientHello that is read. With post-quantum key shares they have about 2,000 bytes.
CLIENT_HELLO_BYTES = 16 * KIB
#: Time from a connection to its whole request, and from the answer to the whole ClientHello, in seconds.
HANDSHAKE_SECONDS = 10.0
#: Time in which a host must be resolved and connected, in seconds.
DIAL_SECONDS = 10.0
#: Longest policy that a gate reads: thousands of skills with hundreds of entries each.
POLICY_LINE_BYTES = 64 * MIB


class MessageLimits(NamedTuple):
    """How much of a peer's message is read before it is refused.

    Attributes:
        line_bytes: Longest line, without its newline.
        depth: Deepest nesting of arrays and objects.
        values: Most values in one message.
        id_characters: Longest string id.
    """

    line_bytes: int = RESULT_LINE_BYTES
    depth: int = MESSAGE_DEPTH
    values: int = MESSAGE_VALUES
    id_characters: int = ID_CHARACTERS


CLIENT_LIMITS = MessageLimits()
SERVER_LIMITS = MessageLimits(line_bytes=REQUEST_LINE_BYTES)
