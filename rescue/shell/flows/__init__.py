"""The flows: what is asked, what may be answered, what is refused and why; pure, without a face."""
