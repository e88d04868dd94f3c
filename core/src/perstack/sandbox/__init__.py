"""From decided policies to running sandboxes with a connected skill in each: all of them, or none."""
