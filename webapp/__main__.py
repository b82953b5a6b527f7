"""`python -m webapp`: the workbench without a word after it, the command line with one."""

from __future__ import annotations

from webapp.cli import main

if __name__ == "__main__":
    main()
