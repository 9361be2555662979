# Sourced by ./dev: format, style, types and clang-tidy.

cpp_files() { git -C "$WT_ROOT" ls-files -co --exclude-standard -- 'src/*.cc' 'src/*.h' 'python/*.cc' 'python/*.h' 'tests/*.cc' 'bench/*.cc'; }

# lint_step NAME CMD…: one counted check.
lint_step() {
  local name=$1 start=$SECONDS
  shift
  if (cd "$WT_ROOT" && quietly "lint-$name" "$@"); then
    add_counts "$name" $((SECONDS - start)) 1 0 0
  else
    add_counts "$name" $((SECONDS - start)) 0 1 0
  fi
}

# changed_files PATTERN…: what differs from the last commit, or, in a clean tree, what the last commit changed.
# Fails where there is nothing to compare with.
changed_files() {
  local base=HEAD
  [[ -n $(git -C "$WT_ROOT" status --porcelain -- src python) ]] || base=HEAD~1
  git -C "$WT_ROOT" rev-parse --quiet --verify "$base^{commit}" >/dev/null || return
  { git -C "$WT_ROOT" diff --name-only --diff-filter=d "$base" -- "$@"
    git -C "$WT_ROOT" ls-files -o --exclude-standard -- "$@"; } | sort -u
}

# source_of HEADER: a source whose check shows what is wrong in the header: its own, else one that includes it.
source_of() {
  local module stem sources
  module=$(cut -d/ -f1,2 <<<"$1") stem=$(basename "$1" .h)
  sources=$(git -C "$WT_ROOT" ls-files -co --exclude-standard -- "$module/$stem.cc" "$module/*/$stem.cc")
  if [[ -z $sources ]]; then  # git grep fails where nothing is found: a header that nothing includes
    sources=$(git -C "$WT_ROOT" grep -lE "#include \"([^\"]*/)?$stem[.]h\"" -- 'src/*.cc' 'python/*.cc') || return 0
  fi
  echo "${sources%%$'\n'*}"
}

# Sources that clang-tidy has to look at for what was changed.
changed_sources() {
  local headers header
  changed_files 'src/*.cc' 'python/*.cc' || return
  mapfile -t headers < <(changed_files 'src/*.h' 'python/*.h')
  for header in "${headers[@]}"; do
    source_of "$header"
  done
}

# What a test may do and a module may not: call exit, drop a Status on purpose, declare its fixture's
# members protected, own by pointer.
readonly WT_TIDY_NOT_IN_TESTS='-concurrency-mt-unsafe,-bugprone-unused-return-value,-modernize-use-equals-delete,-cppcoreguidelines-virtual-class-destructor,-cppcoreguidelines-owning-memory,-readability-function-*'

# tidy_step NAME CHECKS FILES…: CHECKS are added to .clang-tidy's.
tidy_step() {
  local name=$1 checks=$2
  shift 2
  (($# > 0)) || return 0
  say "./dev: clang-tidy on $# files"
  lint_step "$name" xargs -a <(printf '%s\n' "$@") -P 2 -n 4 clang-tidy --quiet "--checks=$checks" \
    --extra-arg=-Wno-unknown-warning-option -p build/tidy
}

# tidy_files --all|changed: what clang-tidy looks at.
tidy_files() {
  if [[ $1 == --all ]]; then
    git -C "$WT_ROOT" ls-files -co --exclude-standard -- 'src/*.cc' 'python/*.cc'
  else
    changed_sources
  fi
}

run_tidy() {
  local list files tests
  list=$(tidy_files "$1") || {
    say "./dev: clang-tidy is left out: the clone does not hold the commit before, to tell what was changed"
    add_counts tidy 0 0 0 1
    return
  }
  mapfile -t tests < <(grep -E '^src/.*/(test|fuzz|bench)/' <<<"$list" | sort -u)
  mapfile -t files < <(grep -vE '^src/.*/(test|fuzz|bench)/' <<<"$list" | sort -u)
  if [[ -z $list ]]; then
    say "./dev: no changed C++ file for clang-tidy"
    return
  fi
  # The bindings are otherwise configured by scikit-build, which says where programs go.
  configure_clang tidy -DWT_PYTHON=ON -DSKBUILD_SCRIPTS_DIR=bin || { add_counts tidy 0 0 1 0; return; }
  tidy_step tidy '' "${files[@]}"
  tidy_step tidy-tests "$WT_TIDY_NOT_IN_TESTS" "${tests[@]}"
}

run_lint() {
  local how=${1:-changed}
  [[ $how == changed || $how == --quick || $how == --all ]] || die 2 "lint: unknown argument \"$how\"" "use --quick or --all"
  WT_PASSED=0 WT_FAILED=0 WT_SKIPPED=0
  prepare_tools
  lint_step tree python tools/check_tree.py
  lint_step format xargs -a <(cpp_files) clang-format --dry-run --Werror
  lint_step ruff ruff check .
  lint_step ruff-format ruff format --check .
  lint_step mypy mypy
  [[ $how == --quick ]] || run_tidy "$how"
  print_total lint
}

run_format() {
  prepare_tools
  cpp_files | (cd "$WT_ROOT" && xargs clang-format -i)
  (cd "$WT_ROOT" && ruff format . && ruff check --fix-only .)
}
