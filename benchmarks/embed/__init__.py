"""What embedding costs, beside the article's way and beside the bound that decoding and model set."""
