#!/bin/sh
# Installs the Debian packages that a cluster of real nodes is made with, if any is missing.
set -eu

PACKAGES="containerd runc containernetworking-plugins busybox-static nftables iproute2 openssl
  util-linux mount buildah mmdebstrap gcc libc6-dev"

if [ "$(id -u)" -ne 0 ]; then
  echo "tests/cluster/packages.sh: not root, nothing installed; what is missing is skipped by name" >&2
  exit 0
fi
if ! command -v apt-get >/dev/null 2>&1; then
  echo "tests/cluster/packages.sh: no apt-get here; install by hand what these are called there: $PACKAGES" >&2
  exit 0
fi

missing=""
for package in $PACKAGES; do
  if ! dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed; then
    missing="$missing $package"
  fi
done

if [ -n "$missing" ]; then
  echo "tests/cluster/packages.sh: installing$missing"
  export DEBIAN_FRONTEND=noninteractive
  options="-qq -o DPkg::Lock::Timeout=580"
  # shellcheck disable=SC2086 # lists of words
  apt-get $options update
  # shellcheck disable=SC2086
  apt-get $options install --yes --no-install-recommends $missing >/dev/null
fi
