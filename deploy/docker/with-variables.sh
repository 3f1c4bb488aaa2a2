#!/bin/sh
# Entry point of our images: exports what stands in the file STREAMIFY_ENV_FILE, if that is set, and becomes the command.
# For credentials that a container cannot be given as variables, because they do not exist yet when it is created.
set -eu
if [ -n "${STREAMIFY_ENV_FILE:-}" ]; then
    if [ ! -r "$STREAMIFY_ENV_FILE" ]; then
        echo "error: \`$STREAMIFY_ENV_FILE\` (STREAMIFY_ENV_FILE) cannot be read by user $(id -u)" >&2
        echo "hint: the catalog's bootstrap writes it, for the user HOST_UID; the image must be built for the same user" >&2
        exit 2
    fi
    set -a
    . "$STREAMIFY_ENV_FILE"
    set +a
fi
exec "$@"
