"""Which attentions there are: their stages, names and grammar."""
