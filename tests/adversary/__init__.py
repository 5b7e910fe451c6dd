"""The installed command against a server that shares no code with it or with the sandbox."""
