"""Skills that stay what they were: their packages and their tools as ``perstack.lock`` says, or no run."""
