"""What the agent's end-to-end tests share: a clinic of real processes, its audit log, and a player of graphs."""
