"""What is stored of each image of a collection to tell copies apart, and the look-up of PDQs among all of them."""
