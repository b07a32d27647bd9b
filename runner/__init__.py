"""Starts and stops what the project needs on one machine; imports none of the site's apps."""
