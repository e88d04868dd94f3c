"""Proof that a boundary holds: hostile programs in the sandboxes of a configuration, and a judge outside of them."""
