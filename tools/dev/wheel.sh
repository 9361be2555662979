# Sourced by ./dev: the wheel that is published, and the proof that it needs nothing but Python.

build_wheel() {
  prepare_tools
  local raw=$WT_ROOT/build/wheel wheel
  rm -rf "$raw" && mkdir -p "$raw" "$WT_ROOT/dist"
  say "./dev: building the wheel"
  quietly wheel env CC=gcc CXX=g++ python -m pip wheel "${WT_PIP_BUILD[@]}" -w "$raw" "$WT_ROOT" ||
    die 6 "building the wheel failed" "see the lines above"
  rm -f "$WT_ROOT"/dist/wheeltapper-*.whl
  quietly auditwheel auditwheel repair --strip -w "$WT_ROOT/dist" "$raw"/wheeltapper-*.whl ||
    die 6 "bundling the wheel's libraries failed" "see the lines above"
  wheel=$(ls "$WT_ROOT"/dist/wheeltapper-*.whl)
  try_wheel "$wheel"
  printf '%s\n' "$wheel"
}

# binaries_of VENV: the programs and libraries that the wheel put there, with a zero byte behind each.
binaries_of() {
  find "$1"/lib/python*/site-packages/wheeltapper* -type f \( -name '*.so*' -o -path '*/bin/*' \) -print0
}

# Installs the wheel into an empty environment and uses it there.
try_wheel() {
  local venv=$WT_ROOT/build/wheel/venv python stray
  python=$(find_python)
  say "./dev: trying $(basename "$1") in an empty environment"
  quietly wheel-venv "$python" -m venv "$venv"
  quietly wheel-install "$venv/bin/python" -m pip install --disable-pip-version-check --no-input "$1" ||
    die 6 "the wheel does not install" "see the lines above"
  # Every library comes from the wheel, from Python's own environment or from the C library's set.
  stray=$(binaries_of "$venv" | xargs -0 ldd |
    awk '/=>/ && $3 !~ /wheeltapper\.libs/ {print $1}' | sort -u |
    grep -v -E '^(libc|libm|libdl|librt|libpthread|libstdc\+\+|libgcc_s|libz|libresolv)\.so' || true)
  [[ -z $stray ]] || die 6 "the wheel needs libraries that it does not bring: $stray" "link them statically or let auditwheel bundle them"
  (cd / && quietly wheel-try env -u PYTHONPATH -u VIRTUAL_ENV PATH="$venv/bin:/usr/bin:/bin" bash -euc '
    wheeltapper --version
    wt --version
    python -W error -c "
import sys, wheeltapper
heavy = {\"torch\", \"tensorflow\", \"jax\", \"xgboost\", \"mxnet\", \"pandas\"} & set(sys.modules)
assert not heavy, heavy
print(wheeltapper.__version__)"
    folder=$(mktemp -d)
    trap "rm -rf \"$folder\"" EXIT
    wheeltapper run --run-dir "$folder/run" -- python -c "import wheeltapper; print(wheeltapper.__file__)"
    wheeltapper show "$folder/run" --json | python -m json.tool') ||
    die 6 "the installed wheel does not work" "see the lines above"
  say "./dev: the wheel installs and runs ($(($(stat -c %s "$1") / 1024)) KiB)"
}
