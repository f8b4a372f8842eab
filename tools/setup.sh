# Sourced by ./run and ./test: installs what is missing, builds. POSIX sh; a bare Debian 12 has nothing more.

BUILD_PACKAGES="gcc libc6-dev meson ninja-build pkg-config curl libevent-dev libsqlite3-dev libpq-dev
libcurl4-openssl-dev libjansson-dev libssl-dev librdkafka-dev"
TEST_PACKAGES="$BUILD_PACKAGES libcmocka-dev clang-format python3-pytest python3-venv ca-certificates
default-jre-headless maven chromium postgresql pgbouncer python3-psycopg2 nginx-light python3-yaml
python3-jsonschema openssl"

say() { printf '%s\n' "subpay: $*" >&2; }

# need_packages NAME...: installs those that dpkg does not know as installed.
need_packages() {
    missing=
    for package in "$@"; do
        status=$(dpkg-query -W -f '${db:Status-Abbrev}' "$package" 2>/dev/null || true)
        case "$status" in
        ii*) ;;
        *) missing="$missing $package" ;;
        esac
    done
    [ -z "$missing" ] && return 0
    say "installing with apt:$missing"
    if [ "$(id -u)" -eq 0 ]; then
        as_root=
    elif command -v sudo >/dev/null 2>&1; then
        say "this needs root once; sudo may ask for your password"
        as_root=sudo
    else
        say "this needs root once. As root, run:"
        say "  apt-get update && apt-get install -y --no-install-recommends$missing"
        exit 1
    fi
    # shellcheck disable=SC2086  # a list of words is meant
    $as_root apt-get update -qq >&2 &&
        $as_root env DEBIAN_FRONTEND=noninteractive \
            apt-get install -y -qq --no-install-recommends $missing >&2 </dev/null || {
        say "apt could not install:$missing"
        exit 1
    }
}

# build_into FOLDER TARGET [meson options]: configures where need be, then builds what changed; silent when nothing
# did, and when it goes well.
build_into() {
    folder=$1 target=$2
    shift 2
    if [ ! -f "$folder/build.ninja" ]; then
        rm -rf "$folder"
        say "building${about:+ ($about)}"
        about=said
        quietly meson setup "$folder" "$@"
    elif [ $# -gt 0 ] && [ "$(cat "$folder/.options" 2>/dev/null)" != "$*" ]; then
        quietly meson setup --reconfigure "$folder" "$@"
    fi
    [ $# -eq 0 ] || printf '%s\n' "$*" >"$folder/.options"
    case $(ninja -C "$folder" -n "$target" 2>&1) in
    *"no work to do"*) return 0 ;;
    esac
    [ "${about-}" = said ] || say "building${about:+ ($about at most)}"
    quietly ninja -C "$folder" "$target"
}

# What a command says is shown only when it fails.
quietly() {
    "$@" >"$folder.log" 2>&1 || {
        cat "$folder.log" >&2
        exit 1
    }
    rm -f "$folder.log"
}
