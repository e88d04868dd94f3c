"""Connections that perstack itself makes: to places that were decided before the run, each one recorded."""
