"""`metatune-server`, and `python -m app`."""

from __future__ import annotations

from app.loading import uncollected


def main() -> None:
    with uncollected():
        from app.cli import main as run

    run()


if __name__ == "__main__":
    main()
