"""Numbers in German pages: the same digits as everywhere; dates as short as the English ones, and
as `static/js/time.js` writes them: `21. Nov. 2026`."""

DATE_FORMAT = "j. N Y"
DATETIME_FORMAT = "j. N Y H:i"
MONTH_DAY_FORMAT = "j. N"
DECIMAL_SEPARATOR = "."
THOUSAND_SEPARATOR = ","
