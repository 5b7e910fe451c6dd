"""The shipped command against a server that shares nothing with it or with the sandbox."""
