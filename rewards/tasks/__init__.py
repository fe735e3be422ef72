"""Tasks: prompts with exact answers, one file each."""
