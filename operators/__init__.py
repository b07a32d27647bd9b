"""What a provider's operator sees and says: earnings, the listing, checks from outside, notes."""
