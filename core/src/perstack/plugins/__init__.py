"""Plugins: found by their metadata, filtered before they are imported, loaded one by one, and asked one by one."""
