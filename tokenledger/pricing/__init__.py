"""From usage to money: the price book, the one look-up ladder, exact cost lines."""

from tokenledger.pricing.book import OverlapError, Overlay, PriceBook, build_book, packaged_book
from tokenledger.pricing.cost import AmountOverflowError, Cost, SharesExceedUsageError, price_call
from tokenledger.pricing.listing import ListedPrice, list_prices
from tokenledger.pricing.overlay import OverlayError, read_overlay

__all__ = [
    "AmountOverflowError",
    "Cost",
    "ListedPrice",
    "OverlapError",
    "Overlay",
    "OverlayError",
    "PriceBook",
    "SharesExceedUsageError",
    "build_book",
    "list_prices",
    "packaged_book",
    "price_call",
    "read_overlay",
]
