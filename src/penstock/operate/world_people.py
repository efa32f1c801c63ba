"""The people and places of the sample world: cities by population, salesmen with territories, customers.

All of it follows from a seed. A salesman lives in a city and sells there and in the nearest others; some sell far more
than most. Customers have an address in a city; a few of the addresses are broken, as in real customer tables.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

CITIES = (
    ("Århus", 285, 56.2, 10.2), ("Amsterdam", 918, 52.4, 4.9), ("Antwerpen", 530, 51.2, 4.4),
    ("Barcelona", 1660, 41.4, 2.2), ("Basel", 178, 47.6, 7.6),
    ("Berlin", 3780, 52.5, 13.4), ("Bordeaux", 261, 44.8, -0.6), ("Bremen", 569, 53.1, 8.8),
    ("Brno", 400, 49.2, 16.6), ("Bruxelles", 1220, 50.8, 4.4), ("Budapest", 1690, 47.5, 19.0),
    ("Dresden", 563, 51.1, 13.7), ("Düsseldorf", 629, 51.2, 6.8), ("Frankfurt am Main", 773, 50.1, 8.7),
    ("Gdańsk", 487, 54.4, 18.6), ("Genève", 204, 46.2, 6.1), ("Göteborg", 604, 57.7, 12.0),
    ("Graz", 298, 47.1, 15.4), ("Hamburg", 1890, 53.6, 10.0), ("Hannover", 545, 52.4, 9.7),
    ("Helsinki", 664, 60.2, 24.9), ("København", 660, 55.7, 12.6), ("Köln", 1080, 50.9, 7.0),
    ("Kraków", 804, 50.1, 19.9), ("Leipzig", 616, 51.3, 12.4), ("Lisboa", 548, 38.7, -9.1),
    ("Ljubljana", 285, 46.1, 14.5), ("Luleå", 49, 65.6, 22.1), ("Lyon", 523, 45.8, 4.8),
    ("Madrid", 3330, 40.4, -3.7), ("Málaga", 586, 36.7, -4.4), ("Malmö", 357, 55.6, 13.0),
    ("Marseille", 873, 43.3, 5.4), ("Milano", 1370, 45.5, 9.2), ("München", 1510, 48.1, 11.6),
    ("Münster", 320, 52.0, 7.6), ("Napoli", 914, 40.9, 14.3), ("Nürnberg", 523, 49.5, 11.1),
    ("Oslo", 709, 59.9, 10.8), ("Paris", 2100, 48.9, 2.4), ("Porto", 232, 41.1, -8.6),
    ("Poznań", 546, 52.4, 16.9), ("Praha", 1360, 50.1, 14.4), ("Riga", 605, 56.9, 24.1),
    ("Roma", 2750, 41.9, 12.5), ("Rotterdam", 656, 51.9, 4.5), ("Salzburg", 157, 47.8, 13.0),
    ("Sevilla", 684, 37.4, -6.0), ("Stockholm", 985, 59.3, 18.1), ("Strasbourg", 291, 48.6, 7.8),
    ("Stuttgart", 633, 48.8, 9.2), ("Tallinn", 454, 59.4, 24.8), ("Torino", 848, 45.1, 7.7),
    ("Toulouse", 504, 43.6, 1.4), ("Valencia", 792, 39.5, -0.4), ("Vilnius", 602, 54.7, 25.3),
    ("Warszawa", 1860, 52.2, 21.0), ("Wien", 1980, 48.2, 16.4), ("Wrocław", 674, 51.1, 17.0),
    ("Zagreb", 767, 45.8, 16.0), ("Zürich", 434, 47.4, 8.5),
)  # fmt: skip
"""Name, inhabitants in thousands, latitude, longitude."""

_FIRST_NAMES = (
    "Agnieszka Alba Alexandru Anders Anna Antonio Astrid Beatriz Björn Camille Chiara Claire Daan Dagmar Eva Felix "
    "Franziska Giulia Hanna Henrik Ilse Ingrid Jakub Jan Jens Joana José Jürgen Karin Katarína Lars Léa Lena Lucía "
    "Luuk Maja Marek Margarida Maria Marta Matteo Mette Miguel Nadia Niels Nina Nuria Ole Olivier Paula Pedro Petra "
    "Pierre Rafael Renata Saša Sofia Sven Thomas Tomáš Ursula Veronika Yann Zofia"
)
_LAST_NAMES = (
    "Almeida Andersen Bauer Becker Bianchi Bernard Blanc Castro Conti Dahl De-Vries Dubois Eriksson Esposito Fernández "
    "Ferrari Fischer Fontaine García Gruber Hansen Hoffmann Horvat Huber Jansen Johansson Kaminski Keller Kovács "
    "Kowalski Krüger Larsen Lindberg López Marino Martin Meier Moreau Müller Navarro Nielsen Novák Nowak Olsen "
    "Pereira Petit Ricci Rossi Santos Schmidt Schneider Silva Svensson Szabó Tamm Torres Visser Weber Wójcik Zimmermann"
)
_LETTERS = str.maketrans({"ø": "o", "ł": "l", "ß": "ss"})

TERRITORY = 4
"""Cities a salesman sells in."""


@dataclass(frozen=True)
class People:
    """The world's people as arrays. Salesmen's and customers' ids are their index and 1."""

    salesman_names: tuple[str, ...]
    territories: Ints
    """Cities of each salesman by index, home first; shape (salesmen, TERRITORY)."""
    shares: Floats
    """Each salesman's share of all sales; adds up to 1."""
    customer_names: tuple[str, ...]
    emails: tuple[str, ...]
    customer_cities: Ints
    city_customers: tuple[Ints, ...]
    """Customers by index, of each city."""

    @property
    def cities(self) -> pa.Array:
        return pa.array([c[0] for c in CITIES])


@cache
def people(seed: int, salesmen: int = 300, customers: int = 20_000) -> People:
    """Returns the world of `seed`."""
    rng = np.random.default_rng([seed, 1])
    inhabitants = np.array([c[1] for c in CITIES], dtype=float)
    weights = inhabitants / inhabitants.sum()
    homes = rng.choice(len(CITIES), salesmen, p=weights)
    customer_cities = rng.choice(len(CITIES), customers, p=weights)
    customer_cities[: len(CITIES)] = np.arange(len(CITIES))
    skill = rng.lognormal(0.0, 0.8, salesmen)
    customer_names = _names(rng, customers)
    return People(
        salesman_names=_names(rng, salesmen),
        territories=_nearest()[homes],
        shares=skill / skill.sum(),
        customer_names=customer_names,
        emails=tuple(_email(name, n) for n, name in enumerate(customer_names, 1)),
        customer_cities=customer_cities,
        city_customers=tuple(np.flatnonzero(customer_cities == c) for c in range(len(CITIES))),
    )


def _nearest() -> Ints:
    """Returns for each city itself and the nearest others, by index."""
    at = np.array([(c[2], c[3] * 0.64) for c in CITIES])
    distances = np.linalg.norm(at[:, None, :] - at[None, :, :], axis=2)
    np.fill_diagonal(distances, -1.0)
    return np.argsort(distances, axis=1, kind="stable")[:, :TERRITORY]


def _names(rng: np.random.Generator, count: int) -> tuple[str, ...]:
    firsts, lasts = _FIRST_NAMES.split(), _LAST_NAMES.split()
    first, last = rng.integers(len(firsts), size=count), rng.integers(len(lasts), size=count)
    return tuple(f"{firsts[f]} {lasts[n]}" for f, n in zip(first, last, strict=True))


def _email(name: str, number: int) -> str:
    plain = unicodedata.normalize("NFKD", name.lower().translate(_LETTERS)).encode("ascii", "ignore").decode()
    local = plain.replace(" ", ".")
    return f"{local}{number}@example.org"
