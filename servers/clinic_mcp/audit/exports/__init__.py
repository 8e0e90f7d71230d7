"""The log in other people's formats: a table, FHIR AuditEvents, OCSF events."""
