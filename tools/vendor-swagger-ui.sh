#!/bin/sh
# Refreshes web/vendor from the package swagger-ui-dist: its two files and its licences, with checksums.
# Without an argument: the pinned version, which must give the very files of web/vendor/SHA256SUMS.
# With one: that version; then look at `git diff`, and pin it here.
set -eu

package=swagger-ui-dist
pinned=5.35.0
version=${1:-$pinned}
root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
files="LICENSE NOTICE swagger-ui-bundle.js swagger-ui-bundle.js.LICENSE.txt swagger-ui.css"

command -v npm >/dev/null || { echo "vendor-swagger-ui.sh: needs npm" >&2; exit 2; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
npm pack --silent "$package@$version" >/dev/null
tar -xzf "$package-$version.tgz"
cd package
if [ "$version" = "$pinned" ]; then
    sha256sum --check --quiet "$root/web/vendor/SHA256SUMS"
fi
# shellcheck disable=SC2086 # one name a word
cp $files "$root/web/vendor/"
cd "$root/web/vendor"
# shellcheck disable=SC2086
sha256sum $files >SHA256SUMS
echo "web/vendor: $package $version"
