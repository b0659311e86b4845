#!/bin/sh
# Proves that requirements.lock is what pyproject.toml asks for; with --write, makes it (and with
# --write --upgrade, takes the newest versions). `make check` and `make lock` call this.
set -eu
cd "$(dirname "$0")/.."
lock=requirements.lock
uv=.venv/bin/uv

# compile FILE [OPTION…]: compiles into FILE; the pins that FILE already holds are kept.
compile() {
    file=$1
    shift
    "$uv" pip compile pyproject.toml --extra dev --universal --python-version 3.11 \
        --generate-hashes --no-emit-index-url --no-emit-find-links \
        --custom-compile-command "make lock" --quiet --output-file "$file" "$@"
}

fail() {
    echo "lock: $*" >&2
    exit 1
}

if [ "${1:-}" = --write ]; then
    shift
    compile "$lock" "$@"
    echo "lock: $lock is written"
    exit 0
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# What a reader can see in the file itself.
if grep -nE '://|^ *-(-|[a-z] )?(index-url|extra-index-url|find-links|trusted-host)|^[^#]* @ ' "$lock"; then
    fail "$lock names an address or a place to download from"
fi
if grep -nE '^safety([^a-z0-9-]|$)' "$lock"; then
    fail "$lock holds the scanner 'safety', which would hide our own package of that name"
fi
awk '/^[a-zA-Z0-9]/ { if (pending) exit 1; pending = 1 } /^ +--hash=sha256:[0-9a-f]+/ { pending = 0 }
    END { if (pending) exit 1 }' "$lock" || fail "$lock holds a requirement without a hash"

# Compiled again with its own pins, it must not change by a byte.
cp "$lock" "$work/again.lock"
compile "$work/again.lock" || fail "pyproject.toml could not be compiled"
if ! cmp -s "$lock" "$work/again.lock"; then
    diff -u "$lock" "$work/again.lock" | head -n 20 || true
    fail "$lock is not what pyproject.toml asks for; run 'make lock'"
fi

# uv copies the hashes of the pins it is given, true or not. So once more without them: every hash
# of ours must be one that the registry gives (which may have more: files added to a release since).
sed -E '/^ +--hash=/d; s/ \\$//' "$lock" >"$work/fresh.lock"
compile "$work/fresh.lock" || fail "pyproject.toml could not be compiled"
for file in "$lock" "$work/fresh.lock"; do
    grep -oE 'sha256:[0-9a-f]+' "$file" | sort -u >"$work/$(basename "$file").hashes"
done
foreign=$(comm -23 "$work/$(basename "$lock").hashes" "$work/fresh.lock.hashes")
[ -z "$foreign" ] || fail "$lock holds hashes that no released file has: $foreign"

echo "lock: $lock is true to pyproject.toml, universal, hashed and without addresses"
