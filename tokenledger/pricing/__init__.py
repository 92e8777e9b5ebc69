"""From usage to money: the price book, the one look-up ladder, exact cost lines."""

from tokenledger.pricing.book import OverlapError, Overlay, PriceBook, build_book, packaged_book
from tokenledger.pricing.cost import AmountOverflowError, Cost, SharesExceedUsageError, price_call

__all__ = [
    "AmountOverflowError",
    "Cost",
    "OverlapError",
    "Overlay",
    "PriceBook",
    "SharesExceedUsageError",
    "build_book",
    "packaged_book",
    "price_call",
]
