"""What a terminal shows: tables, charts, maps, progress, failures."""
