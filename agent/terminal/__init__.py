"""What people see: records as text for a terminal or a pipe. Nothing here decides anything."""
