"""The marks on what is the vendor's own in a conversation, so that no other vendor gets it."""

from __future__ import annotations

THINKING = "anthropic:"
"""Before the signature of a thinking block."""
REDACTED = "anthropic-redacted:"
"""Before the encrypted data of a block whose text the vendor withholds."""
CITED = "anthropic-cited:"
"""Before the sources of a text, as JSON: the vendor wants them back with it."""
VENDOR = "anthropic"
"""Whose blocks of tools that run at the vendor these are."""
CONTAINER = "container"
"""The type of a block of ours: the vendor's machine that the answer's code ran on, for the next request."""
