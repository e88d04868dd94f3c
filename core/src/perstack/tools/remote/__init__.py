"""Skills that run elsewhere, through the mcp SDK. Imported only when a run has one."""
