"""The generated pool of persons: who they are, worked out from a number."""

import random
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid5

from etl.sandbox.clock import DAY_US, SECOND_US

_FIRST = (
    "Ada", "Zoë", "Björn", "李雷", "Ñandú", "Олена", "محمد", "Seán", "José", "Ngọc", "Mia", "Tom",
    "🦔 Max", "O'Brien", "Anne-Marie", "e\u0301lodie", "שרה", "ไพลิน", "Ivo", "\u200dKim",
)  # fmt: skip
_LAST = (
    "Lovelace", "Łukasz", "Müller", "韩梅梅", 'Say "Hi"', "Back\\slash", "Smith", "van der Berg",
    "Nguyễn", "Σωκράτης", "D\u2019Angelo", "Line\u2028break", "Tab\tbed", "Jones", "Öztürk", "👩‍💻",
)  # fmt: skip
_PLACES = (
    ("GB", "London", 51.5074, -0.1278), ("DE", "Köln", 50.9375, 6.9603),
    ("BR", "São Paulo", -23.5505, -46.6333), ("JP", "東京", 35.6764, 139.65),
    ("US", "New York", 40.7128, -74.006), ("AU", "Sydney", -33.8715, 151.2006),
)  # fmt: skip
_BROWSERS = ("Chrome", "Safari", "Firefox", "Mobile Safari", "Microsoft Edge")
_SYSTEMS = ("Mac OS X", "Windows", "iOS", "Android", "Linux")
_PLANS = ("free", "team", "enterprise", None)
_ID_COUNTS = bytes([1] * 180 + [2] * 48 + [3] * 12 + [4] * 8 + [5] * 5 + [12] * 3)
_WORD = 0xFFFFFFFFFFFFFFFF


# PostHog computes the UUID of a person that does not exist from this namespace.
_MISSING_NAMESPACE = UUID("932979b4-65c3-4424-8467-0b66ec27bc22")


def missing_uuid(project: int, distinct_id: str) -> str:
    """The UUID by which a distinct id without a person is shown."""
    return str(uuid5(_MISSING_NAMESPACE, f"{project}:{distinct_id}"))


def ids_of_generated(number: int) -> int:
    """How many distinct ids a generated person has: mostly 1, a few 12."""
    return _ID_COUNTS[number * 167 & 255]


def mix(value: int) -> int:
    """64 well-mixed bits of a number (the finaliser of splitmix64)."""
    value = (value + 0x9E3779B97F4A7C15) & _WORD
    value = (value ^ value >> 30) * 0xBF58476D1CE4E5B9 & _WORD
    value = (value ^ value >> 27) * 0x94D049BB133111EB & _WORD
    return value ^ value >> 31


@dataclass(frozen=True, slots=True)
class Person:
    """A person as generated, before any change. Instants are microseconds since 1970."""

    id: int
    uuid: str
    properties: dict[str, Any]
    created_us: int
    last_seen_us: int | None
    distinct_ids: tuple[str, ...]


class People:
    """Works out the persons of one project."""

    def __init__(self, seed: int, project: int, size: int, started_us: int, days: float) -> None:
        """`size` persons, all created before the first recording of the last `days`."""
        self.size = size
        self._project = project
        self._salt = random.Random(f"{seed}:{project}:people").getrandbits(63)
        self._started_us = started_us
        self._oldest_us = started_us - round((days + 1) * DAY_US)
        self._added: dict[int, int] = {}

    def add(self, created_us: int) -> int:
        """One more person, created at this instant; returns the number."""
        self._added[self.size] = created_us
        self.size += 1
        return self.size - 1

    def created_us(self, number: int) -> int:
        """When the person was created."""
        if number in self._added:
            return self._added[number]
        return self._oldest_us - (mix(self._salt ^ number) >> 8) % (400 * DAY_US)

    def person(self, number: int) -> Person:
        """Everything about a person. The same number always gives the same person."""
        bits = mix(self._salt ^ number)
        return Person(
            id=self._project * 10_000_000 + number + 1,
            uuid=self.uuid(number),
            properties=_properties(number, bits),
            created_us=self.created_us(number),
            last_seen_us=self._started_us - (bits >> 3) % (20 * DAY_US) // SECOND_US * SECOND_US
            if bits % 10 > 2
            else None,
            distinct_ids=self.distinct_ids(number),
        )

    def uuid(self, number: int) -> str:
        """The person's UUID (version 4 in form)."""
        high, low = mix(self._salt + 1 ^ number), mix(self._salt + 2 ^ number)
        head, tail = f"{high:016x}", f"{low:015x}"
        return f"{head[:8]}-{head[8:12]}-4{head[12:15]}-a{tail[:3]}-{tail[3:15]}"

    def distinct_ids(self, number: int) -> tuple[str, ...]:
        """All distinct ids of the person, the one they were identified by first."""
        bits = mix(self._salt ^ number)
        devices = (
            f"019{bits >> 40:06x}-{slot:04x}-7{number & 0xFFF:03x}-9e1b-{number:012x}"
            for slot in range(1, ids_of_generated(number))
        )
        return (_identity(number, bits), *devices)


def _email(number: int) -> str:
    return f"user{number}@example{number % 7}.com"


def _has_email(bits: int) -> bool:
    return bits % 8 != 0


def _identity(number: int, bits: int) -> str:
    kind = bits >> 5 & 3
    if kind == 0 and _has_email(bits):
        return _email(number)
    if kind == 1:
        return f"{number + 1000}"
    if kind == 2:
        return f"{bits >> 20:x}-{number:x}-🦔" if bits % 64 == 1 else f"{bits >> 4:015x}_{number:x}"
    return f"user:{number}"


def _properties(number: int, bits: int) -> dict[str, Any]:
    country, city, latitude, longitude = _PLACES[bits >> 7 & 0xFF and (bits >> 7) % len(_PLACES)]
    properties: dict[str, Any] = {
        "$os": _SYSTEMS[(bits >> 11) % len(_SYSTEMS)],
        "$browser": _BROWSERS[(bits >> 13) % len(_BROWSERS)],
        "$browser_version": 90 + (bits >> 17) % 50,
        "$geoip_country_code": country,
        "$geoip_city_name": city,
        "$geoip_latitude": latitude,
        "$geoip_longitude": longitude,
        "$initial_referring_domain": "$direct",
        "plan": _PLANS[(bits >> 21) % len(_PLANS)],
        "is_signed_up": _has_email(bits),
    }
    if _has_email(bits):
        properties["email"] = _email(number)
        properties["name"] = f"{_FIRST[(bits >> 23) % 20]} {_LAST[(bits >> 29) % 16]}"
    if bits >> 33 & 3 == 0:
        properties["has_seen_product_intro_for"] = {
            "surveys": True,
            "steps": [1, 2, {"done": None}],
        }
        properties[f"$survey_dismissed/{bits:016x}"] = True
    if bits >> 35 & 15 == 0:
        properties['odd "key"\\ \u2028 ключ'] = ["", {}, [], -0.5, 1e-7, 2**53, "\U0001f9ff"]
        properties[""] = "an empty key"
    return properties
