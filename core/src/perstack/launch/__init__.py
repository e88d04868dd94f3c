"""From a command to a running job: what was asked, what was decided, and what is started."""
