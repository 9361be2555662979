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

# Sources that differ from the last commit, or, in a clean tree, that the last commit changed.
changed_sources() {
  local base=HEAD
  [[ -n $(git -C "$WT_ROOT" status --porcelain -- src python) ]] || base=HEAD~1
  { git -C "$WT_ROOT" diff --name-only --diff-filter=d "$base" -- 'src/*.cc' 'python/*.cc' 2>/dev/null || true
    git -C "$WT_ROOT" ls-files -o --exclude-standard -- 'src/*.cc' 'python/*.cc'; } | sort -u
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
  lint_step "$name" xargs -a <(printf '%s\n' "$@") -P 2 -n 4 clang-tidy --quiet "--checks=$checks" -p build/tidy
}

run_tidy() {
  local files tests
  if [[ $1 == --all ]]; then
    mapfile -t files < <(git -C "$WT_ROOT" ls-files -co --exclude-standard -- 'src/*.cc')
  else
    mapfile -t files < <(changed_sources)
  fi
  if ((${#files[@]} == 0)); then
    say "./dev: no changed C++ file for clang-tidy"
    return
  fi
  # The commands of the clang build, file by file: clang-tidy does not know GCC's warnings.
  configure_clang tidy -DCMAKE_UNITY_BUILD=OFF || { add_counts tidy 0 0 1 0; return; }
  mapfile -t tests < <(printf '%s\n' "${files[@]}" | grep -E '/(test|fuzz|bench)/')
  mapfile -t files < <(printf '%s\n' "${files[@]}" | grep -vE '/(test|fuzz|bench)/')
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
