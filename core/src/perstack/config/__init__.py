"""From files, variables and options to one validated `Project`, each value with its origin."""
