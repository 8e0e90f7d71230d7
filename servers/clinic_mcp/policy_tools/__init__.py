"""The commands for the people who own the policies, one file each, and what they stand on."""
