"""What a person types to make media."""
