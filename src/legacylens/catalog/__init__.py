"""What is there, and what is known of it.

Survey side: `sweeps` (files), `parent` (cuts), `parent_build` (files to the parent table), `tap` and `parent_tap` (the
same from a TAP service).
Literature side: `positions` (are these coordinates?), `lists` (a user's file), `channels` (how a lens was found),
`published` (lenscat and the candidate lists), `systems` (entries merged), `known_lenses` (all of it together),
`contaminants` (what is known to be no lens).
"""
