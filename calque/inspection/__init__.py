"""What a trained model does, compared and looked at."""
