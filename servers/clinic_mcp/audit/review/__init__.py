"""The auditor's review page: a process of its own that reads the log, and shows nothing that is not first recorded."""
