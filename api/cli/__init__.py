"""The `privacy-manager` commands: each imports what it needs when it runs, and may use every other room."""
