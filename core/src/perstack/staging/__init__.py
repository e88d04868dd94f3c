"""Copies of workspaces that skills change in the place of the workspace, and the way back."""
