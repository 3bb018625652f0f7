"""Results as pictures: `style`, `figures`, `sheets` (contact sheets), `gallery`, `report` (a page for a committee)."""
