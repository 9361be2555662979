# Sourced by ./dev: finds or installs all that building and testing needs, once.
# Each step leaves a stamp in .wt/stamps, so that a repeated call costs milliseconds.

readonly WT_TORCH="torch==2.13.0"
# g++ and python come with headers; everything else is named in docs/decisions/0002-dependencies.md.
readonly WT_PACKAGES=(
  build-essential ca-certificates ccache clang-14 cmake git libbenchmark-dev libclang-rt-14-dev
  libcli11-dev libcurl4-openssl-dev libfmt-dev libgmock-dev libgtest-dev libhwy-dev libisal-dev
  libpcre2-dev libssl-dev libtomlplusplus-dev libzstd-dev ninja-build nlohmann-json3-dev
  pkg-config python3-dev python3-venv
)

# die CODE WHAT HOW-TO-FIX
die() {
  say "./dev: $2"
  say "  fix: $3"
  exit "$1"
}

jobs_count() { printf '%s' "${WT_JOBS:-$(nproc)}"; }

# take_lock NAME FD: one ./dev at a time changes the environment (and one runs the tests); others wait.
# The kernel drops the lock when the process ends, however it ends.
take_lock() {
  mkdir -p "$WT_STATE/stamps" "$WT_STATE/logs" "$WT_STATE/results"
  eval "exec $2>\"\$WT_STATE/$1.lock\""
  if ! flock --nonblock "$2"; then
    say "./dev: waiting for another ./dev to finish ($1)"
    flock "$2"
  fi
}

stamp_is() { [[ -f $WT_STATE/stamps/$1 && $(<"$WT_STATE/stamps/$1") == "$2" ]]; }
set_stamp() { printf '%s\n' "$2" >"$WT_STATE/stamps/$1"; }

missing_packages() {
  local package
  for package in "${WT_PACKAGES[@]}"; do
    [[ $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) == installed ]] || printf '%s\n' "$package"
  done
}

install_packages() {
  local list="${WT_PACKAGES[*]}"
  stamp_is packages "$list" && return
  if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
    say "./dev: no apt-get here; going on with what is installed. These Debian packages are needed: $list"
    set_stamp packages "$list"
    return
  fi
  local missing as_root=()
  mapfile -t missing < <(missing_packages)
  if ((${#missing[@]} > 0)); then
    if ((EUID != 0)); then
      command -v sudo >/dev/null || die 6 "Debian packages are missing and there is neither root nor sudo" \
        "as root: apt-get update && apt-get install -y ${missing[*]}"
      as_root=(sudo)
    fi
    say "./dev: installing ${#missing[@]} Debian packages"
    # An index that cannot be refreshed whole may still hold what is needed.
    quietly apt-update "${as_root[@]}" apt-get update -q || say "./dev: apt-get update failed; trying with the index at hand"
    quietly apt-install "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
      apt-get install -q -y --no-install-recommends "${missing[@]}" ||
      die 6 "installing Debian packages failed" "see the lines above; needed: ${missing[*]}"
  fi
  set_stamp packages "$list"
}

python_is_fit() {
  "$1" - 2>/dev/null <<'PY'
import ensurepip, pathlib, sys, sysconfig, venv
header = pathlib.Path(sysconfig.get_path("include"), "Python.h")
sys.exit(not (sys.implementation.name == "cpython" and sys.version_info >= (3, 11) and header.is_file()))
PY
}

# The system's interpreter first: what stands first in PATH may be a shim without headers.
find_python() {
  local candidate
  if [[ -n ${WT_PYTHON:-} ]]; then
    python_is_fit "$WT_PYTHON" || die 6 "WT_PYTHON=$WT_PYTHON is no CPython 3.11 or newer with venv and headers" "name another one"
    printf '%s' "$WT_PYTHON"
    return
  fi
  for candidate in /usr/bin/python3 python3.13 python3.12 python3.11 python3; do
    if command -v "$candidate" >/dev/null && python_is_fit "$candidate"; then
      command -v "$candidate"
      return
    fi
  done
  die 6 "no CPython 3.11 or newer with venv and headers found" \
    "apt-get install python3-dev python3-venv, or name one with WT_PYTHON=/path/to/python3"
}

install_python_packages() {
  local wanted python
  wanted="$WT_TORCH $(sha256sum <"$WT_ROOT/tools/requirements-dev.txt")"
  stamp_is python "$wanted" && [[ -x $WT_VENV/bin/python ]] && return
  python=$(find_python)
  say "./dev: making the Python environment in .wt/venv"
  [[ -x $WT_VENV/bin/python ]] || quietly venv "$python" -m venv "$WT_VENV" ||
    die 6 "making .wt/venv with $python failed" "see the lines above"
  # torch before anything that depends on it: a dependent's resolver would pick another build of it.
  quietly pip-torch "$WT_VENV/bin/python" -m pip install --disable-pip-version-check --no-input "$WT_TORCH" ||
    die 6 "installing $WT_TORCH failed" "see the lines above; is a package index reachable?"
  quietly pip-dev "$WT_VENV/bin/python" -m pip install --disable-pip-version-check --no-input \
    -r "$WT_ROOT/tools/requirements-dev.txt" ||
    die 6 "installing tools/requirements-dev.txt failed" "see the lines above"
  rm -f "$WT_STATE/stamps/package"
  set_stamp python "$wanted"
}

# Compilers of Debian 12 by number, else the newest that is there.
find_clang() {
  local name
  for name in clang++-14 clang++; do
    command -v "$name" && return
  done
  die 6 "no clang++ found" "apt-get install clang-14"
}

export_environment() {
  export PATH="$WT_VENV/bin:$PATH" VIRTUAL_ENV="$WT_VENV"
  # Objects compiled in one checkout serve another.
  export CCACHE_DIR="${CCACHE_DIR:-${HOME:-$WT_STATE}/.cache/ccache}" CCACHE_BASEDIR="$WT_ROOT" CCACHE_NOHASHDIR=1
  export CCACHE_MAXSIZE="${CCACHE_MAXSIZE:-4G}"
  unset PYTHONHOME
}

# Packages and Python environment, without building anything of ours.
prepare_tools() {
  take_lock environment 9
  install_packages
  install_python_packages
  exec 9>&-
  export_environment
}

# How pip builds the package and the wheel: in one folder, with the flags of the release build, whose objects serve again.
# Verbose, for the log to say how far it is.
readonly WT_PIP_BUILD=(
  --verbose
  --disable-pip-version-check --no-deps --no-build-isolation --config-settings=build-dir="$WT_ROOT/build/package"
  --config-settings=cmake.define.CMAKE_CXX_COMPILER_LAUNCHER=ccache --config-settings=cmake.define.CMAKE_C_COMPILER_LAUNCHER=ccache
  --config-settings=cmake.define.WT_WERROR=ON
)

# Changes when a file that goes into the package is edited, added or removed.
package_state() {
  (cd "$WT_ROOT" && find CMakeLists.txt VERSION pyproject.toml README.md cmake src python -type f \
    ! -path '*/test/*' ! -path '*/tests/*' ! -path '*/__pycache__/*' ! -name '*.so' ! -path '*/fuzz/*' ! -path '*/bench/*' \
    -printf '%p %s %T@\n' 2>/dev/null | sort | sha256sum)
}

# All of prepare_tools, and the package installed into .wt/venv as a user would have it.
prepare_package() {
  prepare_tools
  local state
  state=$(package_state)
  stamp_is package "$state" && [[ -x $WT_VENV/bin/wheeltapper ]] && return
  take_lock environment 9
  state=$(package_state)
  stamp_is package "$state" && [[ -x $WT_VENV/bin/wheeltapper ]] && { exec 9>&-; return; }
  say "./dev: building the package"
  quietly package env CC=gcc CXX=g++ "$WT_VENV/bin/python" -m pip install "${WT_PIP_BUILD[@]}" --no-input --force-reinstall "$WT_ROOT" ||
    die 6 "building the package failed" "see the lines above"
  set_stamp package "$state"
  exec 9>&-
}
