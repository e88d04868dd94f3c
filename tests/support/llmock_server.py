"""Run under the environment that holds llmock: the first line is the server's URL; it ends with standard input."""

import sys

from llmock.testing import LLMockServer

with LLMockServer() as server:
    sys.stdout.write(f"{server.url}\n")
    sys.stdout.flush()
    sys.stdin.read()
