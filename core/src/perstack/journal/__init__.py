"""What happened in every job: append-only, chained, outside the workspace, readable by its owner only."""
