#!/bin/sh
# What `apply` in ferry.yaml calls for each batch: apply.sh <db> [dbs ..]
set -eu
here=$(dirname "$0")
db=$1
shift
# The batch is named by FERRY_BATCH. On standard input it could be taken for Lisp.
pil "$here/apply.l" "$db" "$FERRY_BATCH" "$@" </dev/null
# The receiver counts the batch as applied from here on: a power cut must not take it back.
exec sync "$db"*
