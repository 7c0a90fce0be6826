"""What a notebook shows and asks: progress in one place, tables, and a person's own image. Widgets are not needed."""
