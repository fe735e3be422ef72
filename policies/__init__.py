"""Policies: engines that generate, trainers that learn, objectives, models, tokens and weights."""
