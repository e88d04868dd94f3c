"""The marks on the vendor's proofs of reasoning in a conversation, so that no other vendor gets them."""

from __future__ import annotations

THINKING = "anthropic:"
"""Before the signature of a thinking block."""
REDACTED = "anthropic-redacted:"
"""Before the encrypted data of a block whose text the vendor withholds."""
