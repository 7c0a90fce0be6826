"""What embedding costs, compared with the article's way and with the bound that decoding and model set."""
