"""A fake internet for tests: names, addresses and servers inside network namespaces that have no way out.

Linux only, and as root, because namespaces and addresses are made. Start with `internet.Internet`.
"""
