#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Token ids against the package `tokenizers`, vectors against `model2vec`, both on MiniLM's tokenizer and on what is trained here.
# A few minutes.  Packages from PyPI go into a virtual environment in the build folder.
. "$(dirname "$0")/common.sh"
. "$here/python.sh"

echo "token ids" && "$python" "$here/tokens.py" "$build/tests/eval/encode" "$minilm/tokenizer.json" "$data" "$work"
echo "vectors" && "$python" "$here/vectors.py" "$build/tests/eval/encode" "$minilm/tokenizer.json" "$data" "$work" "$root"/configs/models/*/
