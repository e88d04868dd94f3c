"""`python -m perstack_skill_base` is the console script."""

from perstack_skill_base.server import main

if __name__ == "__main__":
    raise SystemExit(main())
