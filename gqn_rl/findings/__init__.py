"""What a pretrained scene model has found out: pictures from elsewhere, and what r knows, adds up and groups by."""
