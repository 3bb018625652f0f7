"""Results as pictures: `style`, `figures`, `sheets`, `gallery`, `lights`, `report` (a page for a committee)."""
