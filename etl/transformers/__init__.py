"""From a page to a batch: pure functions that turn records into rows."""
