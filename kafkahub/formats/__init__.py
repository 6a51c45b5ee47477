"""How values are written on pages, by language."""
