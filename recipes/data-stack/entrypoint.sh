#!/bin/sh
# Starts a program in the environment data-stack, as `conda activate` would have it.
if [ -z "${BASH_VERSION-}" ] && [ -x /bin/bash ]; then
    exec /bin/bash "$0" "$@"
fi
# A function, so that no script can change the arguments.
activate() {
    for _envpack_script in /opt/env/etc/conda/activate.d/*.sh; do
        if [ -f "$_envpack_script" ]; then
            command . "$_envpack_script" || true
        fi
    done
    unset _envpack_script
}
activate
case "${1-}" in
    -* | *.py) exec /opt/env/bin/python "$@" ;;
esac
exec "$@"
