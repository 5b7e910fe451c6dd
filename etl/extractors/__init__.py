"""From the API to pages: requests, answers, pacing, walking a list to its end."""
