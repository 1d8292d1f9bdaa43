"""The ways in which data sets write problems: ``layouts.py`` declares them, the modules beside it read them."""
