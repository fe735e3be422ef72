"""Cost models: what things take, as pure functions; one file each. `cost.py` says what a double asks of them."""
