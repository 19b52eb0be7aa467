# Keeps the cgroup that is its first argument, until standard input ends. Then it kills what is in the cgroup,
# and removes it. The tests have the other end of standard input: they may end in any way. The second argument
# is a group for some of the same processes, or empty.
cgroup=$1 memory=$2
trap '' HUP INT QUIT TERM
mkdir "$cgroup"
[ -z "$memory" ] || mkdir "$memory" 2>/dev/null || true
echo ready
read -r _ || true
# A process may enter until the cgroup is gone.
while [ -d "$cgroup" ]; do
	echo 1 >"$cgroup/cgroup.kill"
	find "$cgroup" -depth -type d -exec rmdir {} + || sleep 0.01
done 2>/dev/null
while [ -d "$memory" ]; do
	rmdir "$memory" || sleep 0.01
done 2>/dev/null
