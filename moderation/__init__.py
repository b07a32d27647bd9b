"""What moderators decide in the open, and the record that proves it whole."""
