"""Attaching to PyTorch. Nothing here is public: `wheeltapper.attach` and the shim use it."""
