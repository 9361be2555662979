# Sourced by ./dev: runs what takes its time with its output in .wt/logs, and says how far it is.

# Seconds between two plain lines, where stderr is no terminal for people.
readonly WT_PROGRESS_S=${WT_PROGRESS_S:-20}

say() { printf '%s\n' "$*" >&2; }

on_terminal() { [[ -t 2 && ${TERM:-dumb} != dumb && -z ${CI:-} ]]; }

# report_progress NAME LOG: until it is killed, now and then the time and the log's last line.
report_progress() {
  local name=$1 log=$2 start=$SECONDS every=$WT_PROGRESS_S idle text
  ! on_terminal || every=1
  # Waits without a process of its own, which would outlive this one.
  exec {idle}<> <(:)
  while read -rt "$every" -u "$idle" || kill -0 $$ 2>/dev/null; do
    text=$(tail -c 4096 "$log" 2>/dev/null | tr '\r' '\n' | tr -cd '[:print:]\n' | grep -v '^ *$' | tail -n 1) || text=
    text="./dev: $name, $((SECONDS - start)) s${text:+: $(sed 's/^ *//' <<<"$text")}"
    if on_terminal; then
      printf '\r\e[K%s' "${text:0:${COLUMNS:-80}-1}" >&2
    else
      say "${text:0:160}"
    fi
  done
}

# logged NAME CMD…: the output goes to .wt/logs/NAME.log, progress to stderr.
logged() {
  local name=$1 log=$WT_STATE/logs/$1.log reporter code=0
  shift
  : >"$log"
  report_progress "$name" "$log" >/dev/null 8>&- 9>&- </dev/null &
  reporter=$!
  # In the foreground: what is in the background would not hear of Ctrl-C.
  "$@" >"$log" 2>&1 8>&- 9>&- </dev/null || code=$?
  kill "$reporter" 2>/dev/null || true
  wait "$reporter" 2>/dev/null || true
  ! on_terminal || printf '\r\e[K' >&2
  return "$code"
}

# show_failure LOG: its end, and the first compilation that failed, if that stands before.
show_failure() {
  local log=$1 shown=60 first lines
  lines=$(wc -l <"$log")
  first=$(grep -n -m 1 '^ *FAILED: ' "$log" | cut -d: -f1) || first=
  if [[ -n $first ]] && ((first <= lines - shown)); then
    sed -n "$first,$((first + shown - 1))p" "$log" >&2
    say "  (…)"
  fi
  tail -n "$shown" "$log" >&2
  say "  (whole output: ${log#"$WT_ROOT"/})"
}

# quietly NAME CMD…: logged; the output is shown when the command fails.
quietly() {
  local code=0
  logged "$@" || code=$?
  ((code == 0)) || show_failure "$WT_STATE/logs/$1.log"
  return "$code"
}
