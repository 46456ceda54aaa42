"""A model of studies in plain dictionaries, and a machine that drives the service and the model side by side."""
