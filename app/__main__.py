"""`metatune-server`, and `python -m app`."""

from __future__ import annotations

import gc


def main() -> None:
    gc.disable()  # what an import makes stays, and there is a lot of it to look through
    from app.cli import main as run

    gc.freeze()
    gc.enable()
    run()


if __name__ == "__main__":
    main()
