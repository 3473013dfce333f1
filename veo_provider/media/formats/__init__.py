"""Image formats, read byte by byte: what a file is, and whether all of it is there. Needs no Pillow."""
