#!/bin/sh
# Holds the OpenAPI documents that it is given against the specification, with the validator of PyPI. Where Python has none, it is put into
# a virtual environment, once; where PyPI cannot be reached for that, it says so and nothing is validated.
#   validate-openapi.sh DIRECTORY FILE...   DIRECTORY: where the virtual environment is
set -eu
venv=$1
shift
python=python3
has_validator() { "$1" -c 'import openapi_spec_validator' 2>/dev/null; }

if ! has_validator $python; then
    python=$venv/bin/python
    if ! has_validator "$python"; then
        { python3 -m venv "$venv" && "$python" -m pip install -q openapi-spec-validator; } >/dev/null 2>&1 || true
    fi
fi
if has_validator "$python"; then
    "$python" -m openapi_spec_validator "$@"
else
    echo "not validated: $* (openapi-spec-validator is not here, and PyPI cannot be reached)"
fi
