# Which of our processes still run. A process id alone may be somebody else's by now; with its start time it is ours.
# A file with "PID STARTTIME" stands for each process.

# When a process started, in clock ticks since boot.
process_started_at() { # pid
    [ -r "/proc/$1/stat" ] && sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | cut -d' ' -f20
}

# One that ended and was not reaped yet no longer runs.
process_runs() { # file
    local pid started now
    [ -s "$1" ] || return 1
    read -r pid started <"$1"
    now=$(process_started_at "$pid") && [ "$now" = "$started" ] && ! grep -q '^State:.Z' "/proc/$pid/status" 2>/dev/null
}
