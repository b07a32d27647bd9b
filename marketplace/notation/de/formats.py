"""Numbers in German pages: the same digits as everywhere; dates in Django's own German order."""

DECIMAL_SEPARATOR = "."
THOUSAND_SEPARATOR = ","
