#!/bin/bash
# Written by bids_mfi {{ version }}.
#
#   submit.sh             submit what is missing: an array of participants, then the group job
#   submit.sh --all       submit also what is done: images were added, results removed, or other
#                         options or another image shall be used
#   submit.sh --status    say what is done, failed, killed, running or waiting; needs no accounting
#
# Run it again after a failure: participants that ended well are not submitted again. State files lie
# in state/: "waiting LIST", "running JOB", or "ended CODE RECIPE", where RECIPE says which options and
# image the task had.
set -euo pipefail
unset "${!SQUEUE_@}"  # what the user has set for squeue

folder={{ folder | quote }}
state=$folder/state
per_task={{ per_task }}
recipe={{ recipe }}
mkdir -p "$state"

{% if participants %}
find_participants() {
    printf '%s\n'{% for label in participants %} {{ label | quote }}{% endfor %}

}
{% else %}
# Names in BIDS_DIR, each with a zero byte at its end; takes tests of find.
find_names() {
    find -L {{ bids_dir | quote }} -mindepth 1 -maxdepth 1 "$@" -printf '%f\0' 2> /dev/null | sort -z
}

is_label() {
    local LC_ALL=C
    case "$1" in "" | *[!0-9A-Za-z+]*) return 1 ;; esac
}

find_participants() {
    local name
    find_names -type d -name 'sub-*' | while IFS= read -r -d '' name; do
        ! is_label "${name#sub-}" || printf '%s\n' "${name#sub-}"
    done | grep .
}

# What looks like a participant and is left out: its name as bash would write it, and why.
find_skipped() {
    local name
    find_names -type d -name 'sub-*' | while IFS= read -r -d '' name; do
        is_label "${name#sub-}" || say_skipped "$name" "a label has letters and digits only; rename it and its files"
    done
    find_names -type l -name 'sub-*' | while IFS= read -r -d '' name; do
        say_skipped "$name" "it is a link that leads nowhere, as seen from here"
    done
    find_names -type d -iname 'sub[-_ ]*' ! -name 'sub-*' | while IFS= read -r -d '' name; do
        say_skipped "$name" "the folder of a participant is called sub-LABEL, in lower case"
    done
}

say_skipped() { printf '%q is skipped: %s\n' "$1" "$2"; }
{% endif %}

# What squeue says, in a format, of the jobs that Slurm has not ended: of all users and partitions,
# hidden ones too, arrays by task; "?" where it cannot be asked.
ask_queue() {
    local answer
    answer=$(squeue --all --noheader --array --format "$1" 2> /dev/null) || answer='?'
    printf '%s\n' "$answer"
}

# Numbers of the jobs, and what they call.
look() { queued=$(ask_queue '%F_%K %i'); called=$(ask_queue '%F_%K|%o'); }

# Whether the job is in the queue, or may be.
is_queued() { [ "$queued" = '?' ] || grep -qE "^([^ |]+ )?$1([ |]|\$)" <<< "$queued"; }

# Number of the job of a list. It lies beside the list once it is submitted; where sbatch failed,
# Slurm may have taken the job all the same.
job_of() {
    cat "$1.job" 2> /dev/null || grep -m 1 -F -- " $1" <<< "$called" | cut -d _ -f 1 | grep .
}

# State of a participant or of the group: done, other (done, but by another recipe), failed CODE,
# running JOB, waiting JOB, new, "killed " and by what, or unstarted JOB, whose job is gone.
state_of() {
    local line="" rest made job
    [ ! -e "$state/$1" ] || IFS= read -r line < "$state/$1" || true
    rest=${line#* }
    case "$line" in
        "ended 0" | "ended 0 "*)
            made=${line#ended 0}
            made=${made# }
            if [ -z "$made" ] || [ -z "$recipe" ] || [ "$made" = "$recipe" ]; then echo "done"
            else echo "other"; fi ;;
        ended*)
            rest=${rest%% *}
            if [ "$rest" -gt 128 ] && [ "$rest" -lt 193 ]; then echo "killed signal $((rest - 128))"
            else echo "failed $rest"; fi ;;
        running*) if is_queued "$rest"; then echo "running $rest"; else echo "killed job $rest"; fi ;;
        waiting*)
            job=$(job_of "$rest") || { echo "new"; return; }
            if is_queued "${job}(_[0-9]+)?"; then echo "waiting $job"; else echo "unstarted $job"; fi ;;
        *) echo "new" ;;
    esac
}

show_status() {
    local label found
    local -A count=()
    for label in $participants; do
        found=$(state_of "sub-$label")
        count[${found%% *}]=$((${count[${found%% *}]:-0} + 1))
        case "$found" in
            "failed 255") echo "sub-$label: the container did not start: $folder/sub-$label.log" ;;
            "failed 127") echo "sub-$label: apptainer or python is not on the PATH of the node (see --setup): $folder/sub-$label.log" ;;
            failed*) echo "sub-$label failed with exit status ${found#failed }: $folder/sub-$label.log" ;;
            unstarted*) echo "sub-$label was not started, and job ${found#unstarted } is gone (cancelled, or ended before its turn): see task_${found#unstarted }_*.log in $folder" ;;
            killed*) echo "sub-$label was killed (memory, time or signal), ${found#killed }: $folder/sub-$label.log" ;;
        esac
    done
    for found in "done" failed killed unstarted running waiting new; do
        [ -z "${count[$found]:-}" ] || echo "${found/unstarted/not started}: ${count[$found]}"
    done
    [ -z "${count[other]:-}" ] || say_other "${count[other]}"
{% if group %}
    found=$(state_of group)
    case "$found" in
        failed* | killed*) echo "group: $found: $folder/group.log" ;;
        unstarted*) echo "group: not started, and job ${found#unstarted } is gone" ;;
        *) echo "group: $found" ;;
    esac
{% endif %}
    [ "$queued" != '?' ] || echo "squeue gives no answer: what runs or waits may have ended"
}

# A number and its noun.
count() { [ "$1" = 1 ] && echo "$1 $2" || echo "$1 $2s"; }

say_other() {
    echo "done, but by other options or another image: $1; to do them again: submit.sh --all, of" \
        "scripts written with --options=--overwrite where results shall be replaced"
}

# The number in what sbatch --parsable says; some sites add lines of their own.
job_number() { sed -nE 's/^([0-9]+)(;.*)?$/\1/p' | tail -n 1 | grep .; }

# sbatch failed; what waits counts as new, as long as Slurm shows no job of the list.
say_refused() {
    echo "sbatch gave no job number. Correct what it reports and call submit.sh again; a job that Slurm" \
        "took all the same is found, or leaves its participants to the later one" >&2
    exit 1
}

# Jobs of participants, and of the group, that have not ended; of all participants there are states
# of, not only of those of these scripts.
unfinished() {
    local file
    for file in "$state"/sub-*; do state_of "${file##*/}"; done | sed -nE 's/^(running|waiting) ([0-9]+).*/\2/p'
    state_of group | sed -nE 's/^running //p'
}

{% if group %}
submitted=""  # job of this call

{% endif %}
# Argument: --all or nothing.
submit_participants() {
    local list tasks limit label found other=0
    list=$(mktemp -p "$folder" list_XXXXXX)
    for label in $participants; do
        found=$(state_of "sub-$label")
        case "$found $1" in
            running* | waiting* | "done ") ;;
            "other ") other=$((other + 1)) ;;
            *) echo "$label" >> "$list" ;;
        esac
    done
    [ "$other" = 0 ] || say_other "$other" >&2
    tasks=$((($(wc -l < "$list") + per_task - 1) / per_task))
    limit=$({ scontrol show config || true; } | sed -n 's/^MaxArraySize *= *//p')
    if [ "$tasks" = 0 ]; then
        rm "$list"
        echo "participants: none is missing" >&2
        return
    fi
    if [ "$tasks" -gt "${limit:-1001}" ]; then
        rm "$list"
        echo "$(count "$tasks" task), but Slurm takes arrays of ${limit:-1001} here: write the scripts again" \
            "with a larger --participants-per-task" >&2
        exit 2
    fi
    while read -r label; do echo "waiting $list" > "$state/sub-$label"; done < "$list"
    sbatch --parsable --array="0-$((tasks - 1)){{ array_limit }}" "$folder/participant.sbatch" "$list" \
        | job_number > "$list.part" || say_refused
    mv "$list.part" "$list.job"
{% if group %}
    submitted=$(cat "$list.job")
{% endif %}
    echo "participants: job $(cat "$list.job"), $(count "$tasks" task)," \
        "$(count "$(wc -l < "$list")" participant)" >&2
}
{% if group %}

# The group waits for all participants that are at work; a group job that waits for fewer goes.
submit_group() {
    local after=() jobs old mark
    old=$(state_of group)
    jobs=$({ unfinished; [ -z "$submitted" ] || echo "$submitted"; } | sort -un | paste -sd :)
    case "$old" in waiting*) scancel "${old#waiting }" || true ;; esac
    [ -z "$jobs" ] || after=(--dependency="afterany:$jobs")
    mark=$(mktemp -p "$folder" group_XXXXXX)
    echo "waiting $mark" > "$state/group"
    sbatch --parsable ${after[@]+"${after[@]}"} "$folder/group.sbatch" "$mark" \
        | job_number > "$mark.part" || say_refused
    mv "$mark.part" "$mark.job"
    echo "group: job $(cat "$mark.job")" >&2
}
{% endif %}

{% if not participants %}
skipped=$(find_skipped) || true
[ -z "$skipped" ] || printf '%s\n' "$skipped" >&2
{% endif %}
participants=$(find_participants) || {
    echo {{ bids_dir | quote }}": no participant sub-LABEL is seen here. Call submit.sh where the dataset is" >&2
    exit 3
}
case "${1:-}" in
    --status)
        look
        show_status ;;
    "" | --all)
        exec 9> "$folder/lock"
        locked=0
        flock --nonblock --conflict-exit-code 75 9 2> /dev/null || locked=$?
        [ "$locked" != 75 ] || { echo "submit.sh runs already: wait for its end" >&2; exit 1; }
        [ "$locked" = 0 ] || echo "this disk knows no locks: see that nobody else submits now" >&2
        look
        [ "$queued" != '?' ] || { echo "squeue gives no answer: try again where Slurm works" >&2; exit 1; }
        submit_participants "${1:-}"
{% if group %}
        look
        submit_group
{% endif %}
        ;;
    *) echo "usage: submit.sh [--all | --status]" >&2; exit 2 ;;
esac
