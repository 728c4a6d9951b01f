"""Which kernel modules and firmware the initial memory disk needs to reach a server.

The medium's own initial memory disk has no network on purpose. What a wired card needs is taken out
of the base layer and appended; the lists of modules are replaced by the layer's whole ones.
"""

from __future__ import annotations

from rescue.core.errors import ImageDamaged

_CARDS = (
    "kernel/drivers/net/ethernet/",
    "kernel/drivers/net/phy/",
    "kernel/drivers/net/mdio/",
    "kernel/drivers/net/pcs/",
    "kernel/drivers/net/usb/",
    "kernel/drivers/net/hyperv/",
    "kernel/drivers/net/vmxnet3/",
    "kernel/drivers/net/virtio_net.ko",
    "kernel/drivers/net/xen-netfront.ko",
    # DHCP is spoken below IP.
    "kernel/net/packet/af_packet.ko",
)
_FIRMWARE = (
    *("3com", "acenic", "bnx2", "cbfw", "ct2fw", "ctfw", "cxgb", "e100", "intel/ice", "kaweth"),
    *("myri10ge", "phanfw", "qed", "rtl_nic", "tehuti", "tigon"),
)
"""The folders and files that the medium's own initial memory disk does without."""


def modules(dependencies: str) -> tuple[str, ...]:
    """The modules of wired cards and all they depend on, from the text of ``modules.dep``.

    Raises:
        ImageDamaged: there is no driver of a network card in it.
    """
    needs: dict[str, list[str]] = {}
    for line in dependencies.splitlines():
        name, colon, rest = line.partition(":")
        if colon:
            needs[name] = rest.split()
    wanted = [name for name in needs if name.startswith(_CARDS)]
    if not any(name.startswith("kernel/drivers/net/") for name in wanted):
        raise ImageDamaged("the base layer has no drivers of network cards")
    found: set[str] = set()
    while wanted:
        name = wanted.pop()
        if name not in found:
            found.add(name)
            wanted += needs.get(name, [])
    return tuple(sorted(found))


def is_firmware(path: str) -> bool:
    """Whether a file below /usr/lib/firmware is one that a wired card asks for."""
    return path.startswith(_FIRMWARE)
