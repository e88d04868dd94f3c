"""The Expert loop: what happens between a question and an answer."""
