#!/bin/sh
# Ships every journal in a directory, present and future: a daemon is started when a journal is
# written, and ends by itself after an hour without work. Needs inotifywait (inotify-tools).

SSL=${SSL:-ferry-ssl}                   # was: SSL=/usr/lib/picolisp/bin/ssl
HOST=${HOST:-replica.example.com}
PORT=${PORT:-443}
INTERVAL=${INTERVAL:-20}               # seconds
JOURNALS=${JOURNALS:-fifo}

ship() {
   pgrep -f "ssl $HOST $PORT $1/!replica " >/dev/null ||
      "$SSL" "$HOST" "$PORT" "$1/!replica" key/server "$JOURNALS/$1" "blob/$1/" "$INTERVAL" 60
}

for journal in "$JOURNALS"/*            # written while nobody watched
do
   [ -s "$journal" ] && ship "${journal##*/}"
done

inotifywait --monitor --quiet --event modify --format %f "$JOURNALS" |
while read -r name
do
   ship "$name"
done
