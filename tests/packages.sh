#!/bin/sh
# packages.sh PACKAGE...: installs the Debian packages that are missing; COMMAND=PACKAGE only without that command.
# No service is started: RUNLEVEL=1 is what invoke-rc.d looks at.
set -eu

missing=""
for each in "$@"; do
  case $each in
    *=*) command -v "${each%%=*}" >/dev/null 2>&1 || missing="$missing ${each#*=}" ;;
    *) dpkg-query --show --showformat='${db:Status-Status}' "$each" 2>/dev/null | grep -qx installed ||
         missing="$missing $each" ;;
  esac
done

[ -n "$missing" ] || exit 0
if [ "$(id -u)" -ne 0 ]; then
  echo "tests/packages.sh: not root, nothing installed; skipped by name is what needs$missing" >&2
  exit 0
fi
if ! command -v apt-get >/dev/null 2>&1; then
  echo "tests/packages.sh: no apt-get here; install by hand what these are called there:$missing" >&2
  exit 0
fi

echo "tests/packages.sh: installing$missing"
export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1
options="-qq -o DPkg::Lock::Timeout=580"
# shellcheck disable=SC2086 # lists of words
apt-get $options update
# shellcheck disable=SC2086
apt-get $options install --yes --no-install-recommends $missing >/dev/null
