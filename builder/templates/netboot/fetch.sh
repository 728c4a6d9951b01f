# A part of live-boot in the initial memory disk of a netboot: it replaces live-boot's own way to
# fetch one file, which knows neither several layers nor sums. fetch=URL names the folder of a
# build; /conf/rescue-fetch says what is in it. Sourced, after live-boot's own functions.

do_httpmount ()
{
	from="${FETCH%/}"
	room=$(awk '{ sum += $2 + 4096 } END { printf "%d", sum / 1024 + 4096 }' /conf/rescue-fetch)
	memory=$(awk '/^MemAvailable:/ { print $2 }' /proc/meminfo)
	if [ "${memory}" -lt $((room + 131072)) ]
	then
		echo "rescue: not enough memory: $((room / 1024)) MiB are fetched and $((memory / 1024)) MiB are free"
		return 1
	fi
	mount -t tmpfs -o "size=${room}k,mode=0755" tmpfs "${mountpoint}" || return 1
	while read -r digest size path
	do
		mkdir -p "${mountpoint}/${path%/*}"
		if ! Fetch_one "${digest}" "${size}" "${path}"
		then
			umount "${mountpoint}"
			return 1
		fi
	done < /conf/rescue-fetch
	cp /conf/sha256sums.txt "${mountpoint}/sha256sums.txt"
	mount -o remount,ro "${mountpoint}"
	# live-boot would copy it to where nothing looks for it.
	rm -f /etc/resolv.conf
	return 0
}

Fetch_one ()
{
	for try in 1 2 3
	do
		echo "rescue: fetching ${from}/${3} ($((${2} / 1048576)) MiB)"
		if wget -T 60 -O "${mountpoint}/${3}" "${from}/${3}" < /dev/null
		then
			echo "${1}  ${mountpoint}/${3}" > /run/rescue-sum
			if sha256sum -c /run/rescue-sum > /dev/null 2>&1
			then
				return 0
			fi
			echo "rescue: ${3} is not what was built"
		else
			echo "rescue: ${3} cannot be fetched"
		fi
		sleep 2
	done
	echo "rescue: gave up on ${from}/${3}: is the whole folder of the build on the server?"
	return 1
}
