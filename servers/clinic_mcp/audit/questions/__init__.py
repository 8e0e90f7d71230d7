"""What auditors ask of the log, each question an answer of bounded size."""
