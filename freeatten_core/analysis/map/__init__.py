"""The zoomable map of one head."""
