"""What answers a browser: models, texts, work under way, its results."""
