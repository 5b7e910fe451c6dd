"""Fetches pages from the API: sends requests, parses answers, reads lists to their end."""
