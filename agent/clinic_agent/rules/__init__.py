"""A deterministic stand-in for the language model, by published triage rules; it is not a language model."""
