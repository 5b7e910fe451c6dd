"""The properties that sessions have: the same in every project of a server."""

from collections.abc import Mapping
from typing import Any

_TEXTS = (
    "$entry_current_url", "$entry_pathname", "$entry_hostname", "$end_current_url",
    "$end_pathname", "$end_hostname", "$entry_utm_source", "$entry_utm_campaign",
    "$entry_utm_medium", "$entry_utm_term", "$entry_utm_content", "$entry_referring_domain",
    "$entry_gclid", "$entry_gad_source", "$entry_gclsrc", "$entry_dclid", "$entry_gbraid",
    "$entry_wbraid", "$entry_fbclid", "$entry_msclkid", "$entry_twclid", "$entry_li_fat_id",
    "$entry_mc_cid", "$entry_igshid", "$entry_ttclid", "$entry_epik", "$entry_qclid",
    "$entry_sccid", "$entry__kx", "$entry_irclid", "$channel_type", "$last_external_click_url",
)  # fmt: skip
_NUMBERS = ("$pageview_count", "$autocapture_count", "$screen_count", "$vitals_lcp")

PROPERTIES: Mapping[str, tuple[str, bool]] = {
    "$start_timestamp": ("DateTime", False),
    "$end_timestamp": ("DateTime", False),
    **{name: ("String", False) for name in _TEXTS},
    **{name: ("Numeric", True) for name in _NUMBERS},
    "$session_duration": ("Duration", True),
    "$is_bounce": ("Boolean", False),
}
"""By name: the type of the values, and whether they are numbers."""

VALUES: Mapping[str, tuple[Any, ...]] = {
    "$channel_type": (
        "Direct", "Organic Search", "Organic Social", "Paid Search", "Email", "Referral",
        "Größte Suche",
    ),
    "$entry_pathname": ("/", "/login", "/søk", "/a b", "/a%20b", "/" + "long/" * 90),
    "$entry_hostname": ("app.example.com", "例え.example", "localhost:8000"),
    "$entry_utm_source": ("google", "newsletter", "google / cpc", 'say "hi"', "0"),
    "$entry_referring_domain": ("$direct", "www.example.org"),
    "$is_bounce": (True, False),
    "$pageview_count": (0, 1, 2, 7.5),
    "$session_duration": (0, 90, 86_399),
}  # fmt: skip
"""Values that were seen, by property; any JSON scalar."""
