"""What a connection says of a request that got no answer, so that others can decide whether to ask again."""

from __future__ import annotations


class ExchangeFailed(Exception):
    """A request got no whole, well-formed answer."""

    def __init__(
        self,
        reason: str,
        *,
        answered: bool = False,
        reused: bool = False,
        hung: bool = False,
        site: object | None = None,
    ) -> None:
        super().__init__(reason)
        self.site = site
        """Where it happened, as the pool knows it; None before a site was chosen."""
        self.answered = answered
        """Whether any byte of the answer had come."""
        self.reused = reused
        """Whether the connection had served another request before: then the server may just have closed it idle."""
        self.hung = hung
        """Whether it was given up after a wait: the next request would wait there too."""
