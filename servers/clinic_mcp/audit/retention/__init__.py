"""How long things stay: detail that is erased, events that are purged after their retention, and what holds both up."""
