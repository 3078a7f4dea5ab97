#!/bin/sh
# As root: run the tests once more as an unprivileged user, in a copy of this tree that belongs to it, and with temporary
# files in memory where there is /dev/shm: so on another file system than the run as root. Arguments go to pytest. Uses
# the packages of .venv, which `make setup` has made. Left out is what runs other tests by itself, whoever runs it.
set -eu
cd "$(dirname "$0")/.."
user=nobody
here=$(pwd -P)

copy=$(mktemp -d /tmp/fsserver-unprivileged-XXXXXX)
trap 'rm -rf "$copy"' EXIT
tar -c --exclude=./.git --exclude='./.*_cache' . | tar -x -C "$copy"
# An environment knows its place: its commands, and the line that makes fsserver importable.
grep -rlIF "$here" "$copy/.venv/bin" "$copy"/.venv/lib/python*/site-packages/*.pth | xargs -r sed -i "s|$here|$copy|g"
mkdir "$copy/home"
memory=$(mktemp -d /dev/shm/fsserver-XXXXXX 2>/dev/null) || memory=$(mktemp -d)
trap 'rm -rf "$copy" "$memory"' EXIT
chown "$user:" "$memory"
chown -R "$user:" "$copy"

as_user() {
    setpriv --reuid="$user" --regid="$(id -g "$user")" --clear-groups -- \
        env -i PATH=/usr/local/bin:/usr/bin:/bin LANG=C.UTF-8 HOME="$copy/home" TMPDIR="$memory" \
        FSSERVER_REQUIRE_KERNEL="${FSSERVER_REQUIRE_KERNEL:-0}" \
        FSSERVER_REQUIRE_PROGRAMS="${FSSERVER_REQUIRE_PROGRAMS:-0}" "$@"
}

cd "$copy"
if ! as_user .venv/bin/python -c 'import fsserver' 2>/dev/null; then
    echo "test-unprivileged: $user cannot run $(readlink -f .venv/bin/python);" >&2
    echo "test-unprivileged: make .venv with a Python that everybody can run: make clean setup PYTHON=/usr/bin/python3" >&2
    exit 1
fi
# What is only about messages, texts and numbers is the same for every user; `make test` runs it as whoever calls it.
same=""
for part in test_architecture.py test_claims.py test_sabotage.py compat conformance properties service state \
    attacks/test_argument_vectors.py attacks/test_audit_network_faults.py attacks/test_http.py \
    attacks/test_http_calls.py attacks/test_http_load.py attacks/test_signed_audit.py \
    protocol/test_client_roots.py protocol/test_consent.py protocol/test_end.py protocol/test_flow.py \
    protocol/test_hostile_input.py protocol/test_http_files.py protocol/test_http_hostile.py \
    protocol/test_http_oauth.py protocol/test_http_plain.py protocol/test_http_tls.py \
    protocol/test_redact_output.py protocol/test_resources.py protocol/test_revisions.py protocol/test_stress.py \
    unit/test_access_tokens.py unit/test_arguments.py unit/test_audit_chain.py unit/test_audit_network.py \
    unit/test_audit_reading.py unit/test_audit_record.py unit/test_audit_report.py unit/test_audit_verify.py \
    unit/test_authenticator.py unit/test_budgets.py unit/test_call_lines.py unit/test_decision.py \
    unit/test_diff.py unit/test_exchanges.py unit/test_file_lines.py unit/test_globs.py unit/test_handshakes.py \
    unit/test_hostile_text.py unit/test_http_admission.py unit/test_http_connection.py \
    unit/test_issuer_fetching.py unit/test_issuer_keys.py unit/test_jsonrpc.py unit/test_metrics.py \
    unit/test_observability.py unit/test_observing.py unit/test_operations.py unit/test_policy_addresses.py \
    unit/test_policy_docs.py unit/test_policy_globs.py unit/test_policy_golden.py unit/test_policy_merge.py \
    unit/test_policy_principals.py unit/test_policy_report.py unit/test_policy_rules.py \
    unit/test_policy_serving.py unit/test_policy_sinks.py unit/test_policy_units.py \
    unit/test_policy_variables.py unit/test_principals.py unit/test_redact_output.py unit/test_redaction.py \
    unit/test_sealing.py unit/test_search_lines.py unit/test_sizes.py unit/test_text.py \
    unit/test_trace_context.py unit/test_tracing.py unit/test_uri.py; do
    [ -e "tests/$part" ] || { echo "test-unprivileged: there is no tests/$part" >&2; exit 1; }
    same="$same --ignore=tests/$part"
done
# shellcheck disable=SC2086
as_user .venv/bin/python -m pytest $same "$@"
