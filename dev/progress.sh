# shellcheck shell=bash
# Sourced by dev/up and dev/test: how a long command is shown while it runs.
#
#     with_progress "building" .build/logs/build.log swift build
#
# On a terminal: one line that is redrawn each second. Anywhere else (a file, CI): a plain line every 30 seconds, so
# that nobody takes a long build for a hung one. The command's own output goes to the log; what matters of it is shown
# when it fails.

bold='' red='' green='' dim='' plain='' terminal=no
if [ -t 1 ] && [ "${TERM:-dumb}" != dumb ]; then
    terminal=yes
    if [ -z "${NO_COLOR:-}" ]; then
        bold=$'\033[1m' red=$'\033[31m' green=$'\033[32m' dim=$'\033[2m' plain=$'\033[0m'
    fi
fi

say() { printf '%s\n' "$@"; }

# die MESSAGE…: one line a message, on stderr, and the end.
die() {
    printf '%s\n' "${red}$1${plain}" >&2
    shift
    [ $# -eq 0 ] || printf '%s\n' "$@" >&2
    exit 1
}

duration() { # seconds
    if [ "$1" -lt 60 ]; then printf '%d s' "$1"; else printf '%d min %02d s' $(($1 / 60)) $(($1 % 60)); fi
}

# SwiftPM finds the steps of a build as it goes: a first build of everything says [1/550] at its start and
# [1852/1852] at its end. A caller that knows better sets this, so that the percentage does not fall back on its way.
expected_steps=0

# One line about the state of a running build: how far, since when, at what.
progress_line() { # title, log, seconds
    local step total percent='' last
    last=$(tail -n 1 "$2" 2>/dev/null | tr -d '\r' || true)
    step=$(tail -n 200 "$2" 2>/dev/null | grep -oE '^\[[0-9]+/[0-9]+\]' | tail -n 1 || true)
    if [ -n "$step" ]; then
        total=${step#*/} total=${total%]} step=${step#\[} step=${step%/*}
        [ "$total" -ge "$expected_steps" ] || total=$expected_steps
        [ "$total" -eq 0 ] || percent="$((100 * step / total))%  [$step/$total]  "
    fi
    printf '%s  %s%s  %s' "$1" "$percent" "$(duration "$3")" "${last#\[*\] }"
}

watch_log() { # title, log
    local began=$SECONDS ticks=0 line
    while kill -0 $$ 2>/dev/null; do # $$ is the script, also in this background copy of it: nothing is left behind
        if [ $terminal = yes ]; then
            line=$(progress_line "$1" "$2" $((SECONDS - began)))
            printf '\r\033[K%s%s%s' "$dim" "${line:0:$(($(tput cols 2>/dev/null || echo 80) - 1))}" "$plain"
        elif [ $((ticks += 1)) -gt 30 ]; then
            ticks=1
            say "  $(progress_line "$1" "$2" $((SECONDS - began)))"
        fi
        sleep 1 >/dev/null 2>&1 # with no hold on our output: who reads it must not wait for this second
    done
}

watcher=''
stop_watching() {
    [ -n "$watcher" ] || return 0
    kill "$watcher" 2>/dev/null || true
    wait "$watcher" 2>/dev/null || true
    watcher=''
    [ $terminal = no ] || printf '\r\033[K'
}

# Ctrl-C goes to the command as well, because it runs in the foreground: it stops by itself, and then we are told.
stopped() {
    stop_watching
    say "${bold}Stopped.${plain} What is built is kept: the next run goes on from here."
    exit 130
}
trap stop_watching EXIT
trap stopped INT TERM

# The reason first: with two compilers at work the error is rarely in the last lines.
show_failure() { # title, log, seconds
    say "${red}${bold}$1: FAILED${plain} after $(duration "$3")" ""
    local errors
    errors=$(grep -E '(^|[ :])(error|fatal error|fatal|E): ' "$2" | awk '!seen[$0]++' | head -n 20 || true)
    [ -z "$errors" ] || say "$errors" ""
    say "${dim}The last lines of the log:${plain}"
    tail -n 25 "$2"
    say "" "The whole log: ${bold}$2${plain}"
}

# with_progress TITLE LOG COMMAND…: runs the command; when it fails, shows why and returns its status.
with_progress() {
    local title=$1 log=$2 began=$SECONDS status=0
    shift 2
    mkdir -p "$(dirname "$log")"
    : >"$log"
    watch_log "$title" "$log" &
    watcher=$!
    "$@" >"$log" 2>&1 </dev/null || status=$?
    stop_watching
    if [ $status -ne 0 ]; then
        show_failure "$title" "$log" $((SECONDS - began))
        return $status
    fi
    say "${green}ok${plain}  $title  $(duration $((SECONDS - began)))"
}
