"""What runs for long: the service and the page that shows it."""
