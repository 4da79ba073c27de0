"""Parts of pages: from values of the model to components."""
