"""What tests of perstack and of its plugins are made with; nothing here runs in production."""
