"""What a person sees: everything untrusted is bounded and sanitised before it gets here, without exception."""
