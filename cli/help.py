"""Help texts that several commands share."""

QUIET = "No progress and no provisional lines; the result and warnings alone."
