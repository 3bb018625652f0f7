"""How a lens was found, judged by the papers that list it.

A recall measured on lenses that a network found says little about those it cannot find, so each lens carries its
discovery channel: ``spectroscopic`` (two redshifts in one spectrum), ``network`` (a neural network on images),
``visual`` (people looking at images, volunteers among them) or ``other`` (arc finders, quasars, radio, submillimeter,
supernovae, follow-up of clusters). Follow-up of a network's candidates stays ``network``. A paper that is not below
says nothing; a system of which nothing is known is ``other``.

Some references are catalogs of clusters that were entered into lens compilations as places to look at. That a cluster
is in one of them is no evidence of an arc; such rows are marked.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

CHANNELS: Final = ("spectroscopic", "visual", "other", "network")
"""All channels, the most independent of imaging networks first."""

COMPILATIONS: Final = frozenset(
    {
        "2012hst..prop12833M",  # Moustakas et al., the Master Lens Database
        "1509.07649",  # Cao et al. 2015, lenses with velocity dispersions
        "1805.08640",  # Leaf & Melia 2018, the same
    }
)
"""References that collect lenses of others: they say nothing about the discovery."""

TARGET_LISTS: Final = frozenset(
    {
        "10.1086/423038",  # Lopes et al. 2004, optical clusters of the northern sky
        "astro-ph/0106055",  # Gonzalez et al. 2001, Las Campanas distant clusters
        "10.1086/191426",  # Gioia et al. 1990, X-ray sources of the EMSS
        "astro-ph/0405546",  # Boehringer et al. 2004, X-ray clusters (REFLEX)
        "astro-ph/0003219",  # Boehringer et al. 2000, X-ray clusters (NORAS)
        "0411075",  # Gladders & Yee 2005, red-sequence clusters
        "astro-ph/9812394",  # Ebeling et al. 1998, X-ray clusters (BCS)
        "astro-ph/0003191",  # Ebeling et al. 2000, the same, extended
        "astro-ph/0609815",  # Olsen et al. 2006, optical clusters of the CFHTLS
        "astro-ph/0403354",  # Popesso et al. 2004, X-ray clusters in the SDSS
        "1002.2226",  # Menanteau et al. 2010, optical clusters of the southern survey
        "astro-ph/0608624",  # van Breukelen et al. 2006, infrared clusters
        "astro-ph/0607170",  # Pierre et al. 2006, X-ray clusters of the XMM-LSS
    }
)
"""Catalogs of clusters and X-ray sources, not of lenses."""

_SPECTROSCOPIC = {
    "2007.09006",  # Talbot et al. 2020, SILO
    "2206.09902",  # Talbot et al. 2022, SILO
    "1803.03604",  # Talbot et al. 2018, MaNGA
    "0805.1931",  # Bolton et al. 2008, SLACS
    "0911.2471",  # Auger et al. 2009, SLACS
    "1112.3683",  # Brownstein et al. 2012, BELLS
    "1604.01842",  # Shu et al. 2016, BELLS GALLERY
    "2019yCat..18510048S",  # Shu et al. 2017, SLACS for the masses
    "1503.04813",  # Holwerda et al. 2015, blended spectra of GAMA
    "1104.5663",  # Treu et al. 2011, SWELLS
}
_NETWORK = {
    "1906.00970",  # Huang et al. 2020
    "2005.04730",  # Huang et al. 2021
    "2206.02764",  # Storfer et al. 2024
    "2508.20087",  # Inchausti et al. 2025
    "2110.00023",  # Stein et al. 2022
    "1812.03168",  # Petrillo et al. 2019
    "1811.03786",  # Jacobs et al. 2019
    "1905.10522",  # Jacobs et al. 2019, the extended catalog
    "ab26b6",  # the same
    "aaae6a",  # Pourrahmani et al. 2018
    "2004.13048",  # Canameras et al. 2020
    "2107.07829",  # Canameras et al. 2021
    "2201.11135",  # Shu et al. 2022
    "2109.00014",  # Rojas et al. 2022
    "2110.11972",  # Savary et al. 2022
    "2110.01905",  # Li et al. 2021
    "2210.10802",  # Zaborowski et al. 2023
    "2312.07333",  # Jaelani et al. 2024
    "2205.05307",  # Tran et al. 2022: spectra of candidates that networks found
}
_VISUAL = {
    "aa8667",  # Diehl et al. 2017
    "2110.02418",  # O'Donnell et al. 2022
    "2004.00634",  # Sonnenfeld et al. 2020, volunteers
    "1504.05587",  # More et al. 2016, volunteers
    "2002.01611",  # Jaelani et al. 2020
    "1206.3412",  # Pawase et al. 2014
    "1210.4136",  # Furlanetto et al. 2013
    "0802.2174",  # Faure et al. 2008
    "astro-ph/0502528",  # Sand et al. 2005
    "astro-ph/0610061",  # Hennawi et al. 2008
    "1108.0494",  # Wen et al. 2011
    "1302.2663",  # Stark et al. 2013
    "0812.3934",  # Kubo et al. 2009
    "1010.3037",  # Kubo et al. 2010
    "0910.4600",  # Diehl et al. 2009
    "0809.4475",  # Lin et al. 2009
    "astro-ph/0611138",  # Allam et al. 2007
    "ab5f13",  # Sharon et al. 2020
}
_OTHER = {
    "0004-637X/785/2/144",  # Gavazzi et al. 2014, an arc finder
    "1403.1041",  # the same
    "lensedquasars/index.html",  # Lemon et al., lensed quasars
    "1704.01585",  # Sonnenfeld et al. 2018, an arc finder
    "1809.07341",  # Wong et al. 2018, an arc finder
    "2203.12805",  # Wong et al. 2022, the same
    "1911.02587",  # Chan et al. 2020, lensed quasars
    "1904.10465",  # Jaelani et al., a quasar
    "1109.1821",  # More et al. 2012, an arc finder
    "0610362",  # Cabanac et al. 2007, an arc finder
    "1307.4759",  # Sonnenfeld et al. 2013, the same survey
    "1307.4764",  # the same
    "1801.07282",  # Amvrosiadis et al. 2018, submillimeter
    "1611.03922",  # Negrello et al. 2017, submillimeter
    "1503.05824",  # Geach et al. 2015, volunteers, radio and submillimeter
    "1611.00014",  # Goobar et al. 2017, a supernova
    "0911.3302",  # Richard et al. 2010, clusters
    "clusters.html",  # RELICS, clusters
    "CLASH/index.html",  # CLASH, clusters
}
_CHANNEL_OF = {
    **dict.fromkeys(_SPECTROSCOPIC, "spectroscopic"),
    **dict.fromkeys(_NETWORK, "network"),
    **dict.fromkeys(_VISUAL, "visual"),
    **dict.fromkeys(_OTHER, "other"),
}

_IDENTIFIER = re.compile(
    r"(?:https?://)?arxiv\.org/\S*?(\d{4}\.\d{4,5})(?:\.pdf)?"
    r"|arXiv:(\S+)"
    r"|doi:10\.3847/1538-43\d\d/(\S+)"  # journals of the AAS: the article number is enough
    r"|doi:(\S+)"
    r"|adsabs:(\S+)"
    r"|https?://iopscience\.iop\.org/article/10\.\d+/(?:1538-43\d\d/([a-z0-9]+)|([^\s#]+))(?:#\S*)?"
    r"|https?://ui\.adsabs\.harvard\.edu/abs/([^/\s]+)\S*"
    r"|https?://\S*?([^/\s]+/[^/\s]+)/?(?=\s|$)"
)


def identifiers(ref: str) -> tuple[str, ...]:
    """Return the identifiers of the papers in a reference text (arXiv number, DOI or bibcode), each once, in order.

    Examples
    --------
    >>> identifiers("Storfer et al. (2022) - arXiv:2206.02764 | https://arxiv.org/abs/1906.00970")
    ('2206.02764', '1906.00970')
    """
    found = (next(filter(None, match.groups())) for match in _IDENTIFIER.finditer(ref))
    return tuple(dict.fromkeys(found))


def channels_of(papers: Iterable[str]) -> tuple[str, ...]:
    """Return the channels that papers tell, in the order of `CHANNELS`; empty if they tell none."""
    found = {_CHANNEL_OF[paper] for paper in papers if paper in _CHANNEL_OF}
    return tuple(channel for channel in CHANNELS if channel in found)


def only_targets(papers: Iterable[str]) -> bool:
    """Whether every paper that is no compilation is a catalog of clusters or X-ray sources."""
    discoveries = [paper for paper in papers if paper not in COMPILATIONS]
    return bool(discoveries) and all(paper in TARGET_LISTS for paper in discoveries)
