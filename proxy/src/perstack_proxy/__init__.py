"""What Perstack's trusted side and its sandboxes share, on the standard library alone."""

__version__ = "0.1.0"
