#!/usr/bin/env bash
# Installs vLLM 0.32 for CPU into CACHE/venv (about 3.5 GB, two to three minutes). Does nothing where that has been done.
# Usage: install.sh CACHE
#   PYTHON                interpreter to build on (default python3); it needs a wheel of torch 2.13.0+cpu
#   TURNWISE_TORCH_INDEX  address of PyTorch's CPU wheel index, where pip's own settings do not lead to that wheel
set -euo pipefail

cache=${1:?usage: install.sh CACHE}
here=$(cd "$(dirname "$0")" && pwd)
requirements=$here/requirements.txt

mkdir -p "$cache"
if command -v flock >/dev/null; then # two runs at once must not build one folder
  exec 9>"$cache/install.lock"
  flock 9
fi

venv=$cache/venv
stamp=$venv/installed-from
if cmp -s "$requirements" "$stamp"; then exit 0; fi

echo "installing vLLM for CPU into $venv (once; two to three minutes)"
rm -rf "$venv" # half an installation is none: the stamp is written last
"${PYTHON:-python3}" -m venv "$venv"
pip=("$venv/bin/python" -m pip --disable-pip-version-check install -qq --no-deps)
torch=$(grep '^torch==' "$requirements")
"${pip[@]}" ${TURNWISE_TORCH_INDEX:+--index-url "$TURNWISE_TORCH_INDEX"} "$torch" || {
  echo "no wheel of $torch for this Python; set TURNWISE_TORCH_INDEX to the address of PyTorch's CPU wheel index" >&2
  exit 1
}
"${pip[@]}" --requirement "$requirements"
"$venv/bin/python" - <<'PYTHON'
import transformers.models.qwen2.modeling_qwen2
import vllm

print(f"vLLM {vllm.__version__} is installed")
PYTHON
cp "$requirements" "$stamp"
