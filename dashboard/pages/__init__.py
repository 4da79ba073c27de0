"""Pages: each is a layout, and callbacks of a few lines that call queries and then components and figures."""
