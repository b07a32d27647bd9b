"""How numbers and dates are written, by language (`FORMAT_MODULE_PATH`): as in English in all of
them, because amounts are copied between pages, wallets and programs."""
