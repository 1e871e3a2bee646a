"""How good a trained model is, and what simpler methods reach on the same text."""
