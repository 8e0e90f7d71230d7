"""Small real servers that speak the wire formats of what the agent talks to, for tests of the agent alone."""
