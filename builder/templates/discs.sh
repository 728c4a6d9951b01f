# A part of live-boot on the first disc of a set: "toram" then copies the system and not the parts of
# an image, so that the drive is free for the next disc. Sourced, after live-boot's own functions.

if grep -q 'rescue\.discs=' /proc/cmdline
then
	copy_live_to ()
	{
		copyto="${1}_swap"
		size=$(du -ck "${1}"/live/*.squashfs | tail -n 1 | cut -f 1)
		free=$(awk '/^MemAvailable:/ { print $2 }' /proc/meminfo)
		if [ "${free}" -lt $((size + 131072)) ]
		then
			echo "rescue: not enough memory to free the drive: $((size / 1024)) MiB and 128 more"
			return 1
		fi
		mkdir "${copyto}"
		mount -t tmpfs -o "size=$((size + 8192))k,mode=0755" tmpfs "${copyto}" || return 1
		mkdir "${copyto}/live" "${copyto}/rescue"
		cp "${1}"/live/*.squashfs "${1}"/live/*.module "${copyto}/live/" || return 1
		cp -r "${1}/.disk" "${copyto}/"
		for one in recovery jobs disc discs
		do
			[ ! -e "${1}/rescue/${one}" ] || cp -r "${1}/rescue/${one}" "${copyto}/rescue/"
		done
		umount "${1}"
		mount -r -o move "${copyto}" "${1}"
		rmdir "${copyto}"
	}
fi
