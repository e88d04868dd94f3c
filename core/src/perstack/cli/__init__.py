"""The ``perstack`` command: one module per subcommand, and nothing heavy imported before it is needed."""
