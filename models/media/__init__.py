"""What a fast stylizer draws with: strokes, flat areas, cels; by rule."""
