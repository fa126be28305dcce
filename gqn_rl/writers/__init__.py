"""Writers of figures, sheets of pictures, animations and tables: each file whole or not at all."""
