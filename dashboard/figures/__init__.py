"""Figures: from values of the model to plotly, without a look at the database."""
