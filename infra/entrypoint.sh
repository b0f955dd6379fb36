#!/bin/sh
# One entry point: the Lambda runtime when its API is there, otherwise the server.
set -eu

if [ -n "${AWS_LAMBDA_RUNTIME_API:-}" ]; then
  exec python -m awslambdaric "${1:-handler.main.handler}"
fi
if [ "$(id -u)" = 0 ]; then
  # Not with USER in the image: sam local adds its emulator to the image as that user, and fails.
  exec setpriv --reuid=65532 --regid=65532 --clear-groups infernet-lambda serve "$@"
fi
exec infernet-lambda serve "$@"
