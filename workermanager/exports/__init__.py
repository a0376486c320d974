"""A run's figures for other programs: files, scrapes, pushes. The run knows none of them."""

__all__: list[str] = []
