"""The corpus is a program; pytest runs a part of it (test_torture.py)."""

collect_ignore_glob = ["torture_*.py", "__main__.py"]
