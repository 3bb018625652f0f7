"""What tests and rehearsals need.

`viewer` (a stand-in for the cutout service, with its faults), `rehearsal`, `randoms` (points over a mock release).
"""
