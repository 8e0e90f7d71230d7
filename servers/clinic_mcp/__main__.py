"""`python -m clinic_mcp` is the `clinic-mcp` command."""

from clinic_mcp.cli import main

main()
