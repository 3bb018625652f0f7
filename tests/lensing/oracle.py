"""Numbers that lensing must reproduce, worked out from closed forms; nothing of ours is imported to make them."""

THETA_E = 1.5

# A singular isothermal sphere, source at beta = b theta_E: total magnification 2 / b for b < 1, 1 + 1/b outside.
SIS_POINT_MAGNIFICATION = {0.15: 20.0, 0.30: 10.0, 0.75: 4.0, 1.35: 2.0 / 0.9, 2.0: 1.75, 3.0: 1.5}

# A Gaussian source of half-light radius 0.05 arcsec (width s = 0.05 / sqrt(2 ln 2)) at beta:
# 2 theta_E sqrt(pi/2) / s exp(-u) I0(u), u = beta^2 / (4 s^2).
GAUSSIAN_RADIUS = 0.05
SIS_GAUSSIAN_MAGNIFICATION = {0.15: 21.0443, 0.45: 6.6970, 0.75: 4.0065}

# A uniform disk of radius R behind the center: 4 theta_E / R.
SIS_DISK_MAGNIFICATION = {0.1: 60.0, 0.3: 20.0, 0.6: 10.0}

# Area inside the tangential critical curve of an SIE, whatever q: pi theta_E^2.
SIE_CRITICAL_AREA = 7.0686

# SIE by q: semi-axes of the cut, cusps of the astroid, area of the astroid (x along the major axis).
SIE_CAUSTICS = {
    0.5: {"cut": (1.2825, 1.6129), "cusps": (0.8388, 0.5523), "area": 0.5358},
    0.7: {"cut": (1.3978, 1.5739), "cusps": (0.3951, 0.3189), "area": 0.1477},
    0.9: {"cut": (1.4724, 1.5251), "cusps": (0.1087, 0.1020), "area": 0.0131},
}

# Einstein radius [arcsec] by velocity dispersion [km/s] and (z_l, z_s), flat universe, H0 = 70, Omega_m = 0.3.
EINSTEIN_RADIUS = {
    200: {(0.2, 0.6): 0.73, (0.3, 1.0): 0.74, (0.5, 1.5): 0.65, (0.6, 2.0): 0.66, (0.8, 2.5): 0.60},
    250: {(0.2, 0.6): 1.14, (0.3, 1.0): 1.15, (0.5, 1.5): 1.02, (0.6, 2.0): 1.03, (0.8, 2.5): 0.94},
    300: {(0.2, 0.6): 1.63, (0.3, 1.0): 1.66, (0.5, 1.5): 1.47, (0.6, 2.0): 1.49, (0.8, 2.5): 1.35},
    350: {(0.2, 0.6): 2.23, (0.3, 1.0): 2.26, (0.5, 1.5): 2.00, (0.6, 2.0): 2.03, (0.8, 2.5): 1.84},
    400: {(0.2, 0.6): 2.91, (0.3, 1.0): 2.95, (0.5, 1.5): 2.62, (0.6, 2.0): 2.65, (0.8, 2.5): 2.41},
}
