"""The one door through which files come in: regular files only, JSON and CSV by schema, arrays and tensors by shape.

Whatever is wrong with a file becomes one `ValueError` that names the file, the entry, what was expected and what is
there instead.
"""
