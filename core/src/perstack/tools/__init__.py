"""From a connected skill to a result that the model can read: sessions, names, review, dispatch."""
