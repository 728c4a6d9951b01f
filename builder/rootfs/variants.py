"""The named variants of a medium: which firmware, drivers and programs it has.

Each one holds what the smaller one does. Firmware is chosen twice: by package, and inside a package
by path, because one package holds what a laptop's card and what a telephone's asks for.
"""

from __future__ import annotations

from dataclasses import dataclass

_WIRED_PACKAGES = (
    "firmware-linux-free",
    "firmware-misc-nonfree",
    "firmware-intel-misc",
    "firmware-realtek",
    "firmware-bnx2",
    "firmware-bnx2x",
    "firmware-qlogic",
    "firmware-netxen",
)

# What disk controllers and wired network cards ask for, and licences.
_WIRED = (
    "3com",
    "acenic",
    "adaptec",
    "advansys",
    "aic94xx",
    "bnx2",
    "bnx2x",
    "cbfw",
    "ct2fw",
    "ctfw",
    "cxgb3",
    "cxgb4",
    "e100",
    "ene-ub6250",
    "intel/ice",
    "isci",
    "kaweth",
    "moxa",
    "myri10ge",
    "phanfw",
    "qed",
    "ql2",
    "qlogic",
    "rtl_nic",
    "sun",
    "tehuti",
    "tigon",
)

_COMMON_PACKAGES = (
    "firmware-iwlwifi",
    "firmware-atheros",
    "firmware-ath9k-htc",
    "firmware-brcm80211",
    "firmware-mediatek",
    "firmware-myricom",
    "firmware-cavium",
    "wpasupplicant",
    "wireless-regdb",
)

# What laptops, small computers and USB adapters have had for ten years; cards of telephones, access
# points and servers' own accelerators are left to ``full``.
_COMMON = (
    "ath10k/QCA6174",
    "ath10k/QCA9377",
    "ath10k/QCA988X",
    "ath11k/QCA2066",
    "ath11k/QCA6390",
    "ath11k/WCN6855",
    "ath12k/WCN7850",
    "ath6k",
    "ath9k_htc",
    "ar5523",
    "ar9170",
    "htc_7010",
    "htc_9271",
    "brcm",
    "cavium",
    "cypress",
    "iwlwifi-",
    "intel/iwlwifi",
    "mediatek/mt760",
    "mediatek/mt761",
    "mediatek/mt765",
    "mediatek/mt766",
    "mediatek/mt7925",
    "mediatek/WIFI",
    "mt76",
    "mt7601u",
    "regulatory",
    "rt2",
    "rt3",
    "rt7",
    "rtlwifi",
    "rtw88",
    "rtw89",
)

# Without firmware-ipw2x00: it asks for a licence to be accepted, which nobody can do for somebody
# else, and its cards are those of 2004.
_ALL_PACKAGES = (
    "firmware-libertas",
    "firmware-ti-connectivity",
    "firmware-netronome",
    "firmware-carl9170",
    "firmware-zd1211",
    "dmidecode",
    "ethtool",
    "lshw",
    "sg3-utils",
    "tcpdump",
    "tmux",
    "curl",
    "pv",
)

_ALL = (
    "ath10k",
    "ath11k",
    "ath12k",
    "carl9170",
    "libertas",
    "lbtf",
    "mediatek/mt76",
    "mediatek/mt79",
    "mrvl",
    "mwl8k",
    "mwlwifi",
    "netronome",
    "ti-connectivity",
    "zd1211",
)

# Drivers of cards without a wire, and what they stand on.
_RADIO = (
    "/usr/lib/modules/*/kernel/drivers/net/wireless/*",
    "/usr/lib/modules/*/kernel/net/mac80211/*",
    "/usr/lib/modules/*/kernel/net/wireless/*",
)


@dataclass(frozen=True, slots=True)
class Variant:
    """A named choice.

    Attributes:
        packages: Debian packages on top of those that every medium has.
        firmware: beginnings of paths below /usr/lib/firmware that are kept.
        left_out: dpkg patterns of what it does without.
    """

    name: str
    packages: tuple[str, ...]
    firmware: tuple[str, ...]
    left_out: tuple[str, ...] = ()

    @property
    def wireless(self) -> bool:
        """Whether it can join a Wi-Fi."""
        return "wpasupplicant" in self.packages


SMALL = Variant("small", _WIRED_PACKAGES, _WIRED, _RADIO)
STANDARD = Variant("standard", SMALL.packages + _COMMON_PACKAGES, SMALL.firmware + _COMMON)
FULL = Variant("full", STANDARD.packages + _ALL_PACKAGES, STANDARD.firmware + _ALL)
VARIANTS = {variant.name: variant for variant in (SMALL, STANDARD, FULL)}
