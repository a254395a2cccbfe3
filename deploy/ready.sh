#!/bin/bash
# Ends with 0 once every model has a version that is AVAILABLE. The status of a model that still loads is an answer of
# 200, too, so it must be read; and the server's image has bash, but neither curl nor wget.
port=${REST_PORT:-8501}
for model in sentiment char_lm translation; do
  { exec 3<>"/dev/tcp/127.0.0.1/$port"; } 2>/dev/null || exit 1
  printf 'GET /v1/models/%s HTTP/1.0\r\nHost: localhost\r\n\r\n' "$model" >&3
  timeout 5 grep -q '"state": "AVAILABLE"' <&3 || exit 1
  exec 3>&-
done
