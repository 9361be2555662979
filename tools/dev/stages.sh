# Sourced by ./dev: the stages of ./dev test, cheapest first. A stage that fails does not keep the
# next from running; each leaves JUnit files in .wt/results, from which the counts are read.

readonly WT_STAGES=(tree tools release python e2e wheel clang asan tsan)
# Modules that start threads or share memory: what ThreadSanitizer can say something about.
readonly WT_THREADED=(core format capture actions)

# count_stage NAME SECONDS FILES…: adds up JUnit files and prints the stage's line.
count_stage() {
  local name=$1 seconds=$2
  shift 2
  local counts
  counts=$("$WT_VENV/bin/python" "$WT_ROOT/tools/dev/junit_counts.py" "$@") || counts="0 1 0"
  add_counts "$name" "$seconds" $counts
}

# add_counts NAME SECONDS PASSED FAILED SKIPPED
add_counts() {
  ((WT_PASSED += $3, WT_FAILED += $4, WT_SKIPPED += $5)) || true
  printf '== %-8s %5d passed  %3d failed  %3d skipped  %4d s\n' "$1" "$3" "$4" "$5" "$2"
}

# fail_stage NAME SECONDS: the stage could not even run.
fail_stage() { add_counts "$1" "$2" 0 1 0; }

# print_total NAME: the closing line; also kept for .ci/run.
print_total() {
  printf '%d %d %d\n' "$WT_PASSED" "$WT_FAILED" "$WT_SKIPPED" >"$WT_STATE/results/$1.counts"
  printf '%d passed, %d failed, %d skipped\n' "$WT_PASSED" "$WT_FAILED" "$WT_SKIPPED"
  ((WT_FAILED == 0))
}

# configure PRESET ARGUMENTS…
configure() {
  local preset=$1
  shift
  quietly "configure-$preset" cmake -S "$WT_ROOT" --preset "$preset" "$@"
}

# configure_clang FOLDER ARGUMENTS…: build/FOLDER file by file, for what clang checks or clang-tidy reads.
configure_clang() {
  local folder=$1 clang
  shift
  clang=$(find_clang) || return
  configure debug -B "$WT_ROOT/build/$folder" -DCMAKE_CXX_COMPILER="$clang" -DCMAKE_C_COMPILER="${clang/clang++/clang}" \
    -DCMAKE_UNITY_BUILD=OFF "$@"
}

# ctest_stage NAME LABELS REGEX: runs what matches in build/NAME.
ctest_stage() {
  local name=$1 labels=$2 regex=$3 start=$4 xml=$WT_STATE/results/$1.xml
  logged "ctest-$name" ctest --test-dir "$WT_ROOT/build/$name" -L "$labels" -R "$regex" -j "$(jobs_count)" \
    --no-tests=error --output-on-failure --output-junit "$xml" ||
    sed -n '/Test #.*\*\*\*/,$p' "$WT_STATE/logs/ctest-$name.log" | tail -n 400 >&2
  count_stage "$name" $((SECONDS - start)) "$xml"
}

# pytest_stage NAME START PATHS…
pytest_stage() {
  local name=$1 start=$2 xml=$WT_STATE/results/$1.xml
  shift 2
  (cd "$WT_ROOT" && WHEELTAPPER_STRICT=1 logged "pytest-$name" timeout 1200 "$WT_VENV/bin/python" -m pytest -q --no-header \
    -p no:cacheprovider -n "$(jobs_count)" --junitxml="$xml" "$@") || tail -n 200 "$WT_STATE/logs/pytest-$name.log" >&2
  count_stage "$name" $((SECONDS - start)) "$xml"
}

stage_tree() {
  local start=$SECONDS
  if (cd "$WT_ROOT" && "$WT_VENV/bin/python" tools/check_tree.py); then
    add_counts tree $((SECONDS - start)) 1 0 0
  else
    fail_stage tree $((SECONDS - start))
  fi
}

stage_tools() { pytest_stage tools "$SECONDS" tools; }

stage_release() {
  local start=$SECONDS
  { configure release && quietly build-release cmake --build "$WT_ROOT/build/release" -j "$(jobs_count)"; } ||
    { fail_stage release $((SECONDS - start)); return; }
  ctest_stage release '.' "${1:-.}" "$start"
}

stage_python() {
  local start=$SECONDS
  # A failed build ends the stage, not the run.
  (prepare_package) || { fail_stage python $((SECONDS - start)); return; }
  pytest_stage python "$start" python/tests
}

stage_e2e() {
  local start=$SECONDS
  (prepare_package) || { fail_stage e2e $((SECONDS - start)); return; }
  pytest_stage e2e "$start" tests
}

# The wheel that is published, in an environment with nothing else in it.
stage_wheel() {
  local start=$SECONDS
  if (build_wheel >/dev/null); then
    add_counts wheel $((SECONDS - start)) 1 0 0
  else
    fail_stage wheel $((SECONDS - start))
  fi
}

# What the builds that compile several sources as one cannot say: that each source includes all it uses, and each
# interface header; and the thread-safety annotations, which only clang reads. Generates no code.
stage_clang() {
  local start=$SECONDS folder=$WT_ROOT/build/clang
  if configure_clang clang -DWT_SYNTAX_ONLY=ON -DWT_TESTS=OFF -DCMAKE_CXX_COMPILER_LAUNCHER= &&
    quietly check-sources cmake --build "$folder" -j "$(jobs_count)" --target wheeltapper_libraries &&
    quietly check-headers cmake --build "$folder" -j "$(jobs_count)" --target all_verify_interface_header_sets; then
    add_counts clang $((SECONDS - start)) 2 0 0
  else
    fail_stage clang $((SECONDS - start))
  fi
}

stage_asan() {
  local start=$SECONDS
  { configure asan && quietly build-asan cmake --build "$WT_ROOT/build/asan" -j "$(jobs_count)" --target wheeltapper_tests; } ||
    { fail_stage asan $((SECONDS - start)); return; }
  ctest_stage asan 'unit|fuzz' . "$start"
}

stage_tsan() {
  local start=$SECONDS module targets=()
  configure tsan || { fail_stage tsan $((SECONDS - start)); return; }
  for module in "${WT_THREADED[@]}"; do
    [[ -f $WT_ROOT/src/$module/CMakeLists.txt ]] && targets+=("wheeltapper_${module}_test")
  done
  quietly build-tsan cmake --build "$WT_ROOT/build/tsan" -j "$(jobs_count)" --target "${targets[@]}" ||
    { fail_stage tsan $((SECONDS - start)); return; }
  ctest_stage tsan unit "^($(IFS='|'; echo "${WT_THREADED[*]}"))\." "$start"
}

run_tests() {
  local name stages=() modules=() start=$SECONDS
  for name in "$@"; do
    if [[ " ${WT_STAGES[*]} " == *" $name "* ]]; then
      stages+=("$name")
    elif [[ -f $WT_ROOT/src/$name/CMakeLists.txt ]]; then
      modules+=("$name")
    else
      die 2 "test: \"$name\" is neither a stage nor a module" "./dev help lists the stages; modules are the folders of src/"
    fi
  done
  (($# > 0)) || stages=("${WT_STAGES[@]}")
  WT_PASSED=0 WT_FAILED=0 WT_SKIPPED=0
  prepare_tools
  take_lock test 8
  rm -f "$WT_STATE/results/"*.xml
  if ((${#modules[@]} > 0)); then
    stage_release "^($(IFS='|'; echo "${modules[*]}"))\."
  fi
  for name in "${stages[@]}"; do
    "stage_$name"
  done
  say "./dev: tests took $((SECONDS - start)) s"
  print_total test
}
