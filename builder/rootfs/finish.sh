# Runs at the end of mmdebstrap, inside its namespace, with the new root as $1: removes what must
# not be on a medium that many machines share, then leaves the layer and the boot files in
# $1/rescue-out for the builder to take. The builder puts settings before this text.
set -eu
root=$1
out=$root/rescue-out
mkdir "$out"
rm -f "$root"/rescue-finish

# Nothing is started because a package brought it: what runs is in overlays/, by name.
rm -rf "$root"/etc/systemd/system/*.wants "$root"/etc/systemd/system/*.requires

# A keymap for the console, made of an XKB layout; its makers are not needed any more. An unknown
# variant is no failure to ckbcomp: it goes on without it and says that it cannot find it.
# shellcheck disable=SC2154,SC2086  # KEYBOARD is a list of arguments that the builder wrote above
if [ -n "$KEYBOARD" ]; then
    mkdir -p "$root"/etc/rescue
    if ! chroot "$root" ckbcomp $KEYBOARD > "$root"/etc/rescue/keymap \
        2> "$root"/tmp/ckbcomp || grep -i 'can *not find' "$root"/tmp/ckbcomp >&2; then
        echo "E: the recipe's keyboard is not known: $KEYBOARD" >&2
        exit 1
    fi
    rm "$root"/tmp/ckbcomp
    chroot "$root" dpkg --purge console-setup console-setup-linux keyboard-configuration xkb-data \
        liblocale-gettext-perl
fi

# The recipe's locales, by their makers, which are not needed any more and would take them along.
# shellcheck disable=SC2154  # LOCALES is a list that the builder wrote above
if [ -n "$LOCALES" ]; then
    mkdir "$root"/tmp/locales
    for locale in $LOCALES; do
        if ! chroot "$root" localedef --no-archive -i "${locale%.*}" -f UTF-8 \
            "/tmp/locales/${locale%.*}.utf8" >&2; then
            echo "E: the recipe's locale is not known: $locale" >&2
            exit 1
        fi
    done
    chroot "$root" dpkg --purge locales
    mkdir -p "$root"/usr/lib/locale
    mv "$root"/tmp/locales/* "$root"/usr/lib/locale/
    rmdir "$root"/tmp/locales
    rm -rf "$root"/usr/share/i18n
fi

# Identities. Every machine that boots the medium would share them.
rm -f "$root"/etc/nvme/hostid "$root"/etc/nvme/hostnqn "$root"/etc/ssh/ssh_host_* \
    "$root"/var/lib/systemd/random-seed "$root"/var/lib/dbus/machine-id "$root"/etc/hostname \
    "$root"/etc/resolv.conf "$root"/etc/mdadm/mdadm.conf
: > "$root"/etc/machine-id

# What udev's database of devices was made of.
rm -rf "$root"/usr/lib/udev/hwdb.d/*

# Intel's Wi-Fi driver asks for the newest firmware it knows of a card, then for ever older ones. Of each kind
# the newest that this kernel asks for stays: the package's others are 60 MB, and a file is no fallback for
# another one of the same kind.
kernel=$(ls "$root"/usr/lib/modules)
for wanted in $(chroot "$root" modinfo -k "$kernel" -F firmware iwlwifi 2> /dev/null | grep 'ucode$'); do
    kind=${wanted%-*}
    most=${wanted##*-}
    best=0
    for file in "$root/usr/lib/firmware/$kind"-*.ucode; do
        number=${file#"$root/usr/lib/firmware/$kind"-}
        number=${number%.ucode}
        case $number in "" | *[!0-9]*) continue ;; esac
        if [ "$number" -le "${most%.ucode}" ] && [ "$number" -gt "$best" ]; then best=$number; fi
    done
    [ "$best" -gt 0 ] || continue
    for file in "$root/usr/lib/firmware/$kind"-*.ucode; do
        number=${file#"$root/usr/lib/firmware/$kind"-}
        number=${number%.ucode}
        case $number in "" | *[!0-9]* | "$best") continue ;; esac
        rm "$file"
    done
done

# Links of the kernel package to what lies beside the layers, not in them.
rm -f "$root"/vmlinuz* "$root"/initrd.img*

# What the build left behind.
rm -rf "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/* "$root"/var/cache/debconf/*-old \
    "$root"/var/lib/dpkg/*-old "$root"/var/log/* "$root"/var/cache/ldconfig \
    "$root"/etc/apt/sources.list "$root"/etc/apt/sources.list.d/* \
    "$root"/etc/apt/apt.conf.d/99mmdebstrap "$root"/etc/dpkg/dpkg.cfg.d/99mmdebstrap \
    "$root"/var/cache/man

# No account can be entered by a password.
if cut -d: -f2 "$root"/etc/shadow | grep -qv '^[!*]'; then
    echo "an account has a password" >&2
    exit 1
fi

chroot "$root" dpkg-query --show --showformat '${binary:Package} ${Version}\n' > "$out"/packages.txt

cp "$root/boot/vmlinuz-$kernel" "$out"/vmlinuz
cp "$root/boot/initrd.img-$kernel" "$out"/initrd.img
cp "$root"/usr/lib/shim/shimx64.efi.signed "$out"/shimx64.efi
cp "$root"/usr/lib/shim/mmx64.efi.signed "$out"/mmx64.efi
cp "$root"/usr/lib/grub/x86_64-efi-signed/gcdx64.efi.signed "$out"/grubx64.efi
cp "$root"/usr/lib/grub/i386-pc/boot_hybrid.img "$out"/boot_hybrid.img
# Both halves of GRUB come from the medium's own Debian, never from the host's version.
# shellcheck disable=SC2154,SC2086  # GRUB_MODULES is a list that the builder wrote above
chroot "$root" grub-mkimage --format i386-pc-eltorito --prefix /boot/grub \
    --output /rescue-out/eltorito.img $GRUB_MODULES
# For netboot, where a BIOS starts GRUB by TFTP and GRUB fetches the rest. It stays in the layer.
mkdir -p "$root"/usr/lib/rescue
# shellcheck disable=SC2086
chroot "$root" grub-mkimage --format i386-pc-pxe --prefix /grub \
    --output /usr/lib/rescue/netboot.pxe $GRUB_MODULES pxe net tftp http

# Enough of the medium's Python to compile for it on a host that has another one.
(
    cd "$root"
    # shellcheck disable=SC2086
    tar -cf "$out"/python.tar --exclude=__pycache__ usr/bin/python$PYTHON usr/lib/python$PYTHON \
        usr/lib64/ld-linux-x86-64.so.2 usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2 \
        usr/lib/x86_64-linux-gnu/libc.so.6 usr/lib/x86_64-linux-gnu/libm.so.6 \
        usr/lib/x86_64-linux-gnu/libz.so.1* usr/lib/x86_64-linux-gnu/libexpat.so.1*
)

mksquashfs "$root" "$out"/base.squashfs -comp zstd -Xcompression-level "$LEVEL" -b 256K \
    -noappend -no-progress -quiet -wildcards \
    -e 'rescue-out' 'boot/*' 'proc/*' 'sys/*' 'dev/*' 'run/*' 'tmp/*'
# Taken out by another user than the one who made them.
chmod 0644 "$out"/*
