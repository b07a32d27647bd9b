"""What whoever hosts the site sees and does."""
