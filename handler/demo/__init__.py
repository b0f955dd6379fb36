"""The bundled model: which iris it is, from four measurements. ``train.py`` makes it."""
