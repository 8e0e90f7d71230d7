"""What the servers' tests stand on: a clinic's folder, tokens, running servers, the audit log."""
