#!/bin/sh
# Ships the journal and the blobs of each database, one daemon each.
# Cron starts this every minute; what runs already is left alone:
#
#     * * * * *  cd /home/app && ./each-database.sh

SSL=${SSL:-ferry-ssl}                   # was: SSL=/usr/lib/picolisp/bin/ssl
HOST=${HOST:-replica.example.com}
PORT=${PORT:-443}
INTERVAL=${INTERVAL:-20}               # seconds
DATABASES=${DATABASES:-"customers orders"}

for db in $DATABASES
do
   # `ssl HOST` is in the command line of both programs.
   pgrep -f "ssl $HOST $PORT $db/!replica " >/dev/null ||
      "$SSL" "$HOST" "$PORT" "$db/!replica" key/server "fifo/$db" "blob/$db/" "$INTERVAL"
done
