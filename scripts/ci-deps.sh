#!/usr/bin/env bash
# Installs what a fresh Debian 12 with Go, pip and root lacks for all tests, including the local
# cluster's. It does nothing if nothing is missing, and lists what is missing if it cannot install it.
set -euo pipefail

# program:package; a program that is on the PATH counts, wherever it comes from.
needs=(
  git:git make:make openssl:openssl ip:iproute2 nsenter:util-linux
  containerd:containerd runc:runc iptables:iptables conntrack:conntrack etcd:etcd-server
)

PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"
missing=()
for need in "${needs[@]}"; do
  command -v "${need%%:*}" >/dev/null || missing+=("${need##*:}")
done
[[ -x /usr/lib/cni/ptp || -x /opt/cni/bin/ptp ]] || missing+=(containernetworking-plugins)
python3 -m pip --version >/dev/null 2>&1 || missing+=(python3-pip)

if ! command -v go >/dev/null; then
  echo "ci-deps.sh: Go is missing: install the version that go.mod names" >&2
  exit 1
fi
if [[ ${#missing[@]} -eq 0 ]]; then
  echo "ci-deps.sh: nothing to install" >&2
  exit
fi
if [[ "$(id -u)" -ne 0 ]] || ! command -v apt-get >/dev/null; then
  echo "ci-deps.sh: install these packages first (as root, with apt-get): ${missing[*]}" >&2
  exit 1
fi

export DEBIAN_FRONTEND=noninteractive
install=(apt-get install -y --no-install-recommends "${missing[@]}")
# The package list may be stale or missing: refresh it once before giving up.
"${install[@]}" >&2 || { apt-get update >&2 && "${install[@]}" >&2; }
