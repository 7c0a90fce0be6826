"""What it costs to store what tells copies apart, in CPU and bytes, and how long a look-up of a PDQ takes."""
