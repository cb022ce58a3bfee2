#!/usr/bin/env bash
# Runs the loom models and the examples of docs/loom.md as they are, which must pass, and then once for each weakening, which
# must fail.
#
# A weakening is the name of an ordering, a fence or a step in the runtime's source (`ordering!`, `full_fence!`,
# `left_out!`); beside it stands a model that must fail then. The list must name every one in the source. One build
# serves all: the name is read at run time. A model that neither passes nor fails but hangs is an error.
#
# Usage: loom-tests/mutations.sh [--models-only]
set -euo pipefail
cd "$(dirname "$0")/.."

# name                  file      the model that must fail
mutations='
ring_offer              ring      two_tasks_go_to_two_thieves_and_the_owner_once_each
ring_pop_lower          ring      a_lowered_bottom_shows_the_tasks_that_stay_public
ring_pop_fence          ring      two_tasks_go_to_two_thieves_and_the_owner_once_each
ring_steal_fence        ring      two_tasks_go_to_two_thieves_and_the_owner_once_each
ring_steal_bottom       ring      two_tasks_go_to_two_thieves_and_the_owner_once_each
ring_offer              ring      the_question_of_steal_if_holds_for_the_task_taken
latch_set               latch     the_frame_may_go_once_the_latch_is_seen_set
latch_read              latch     the_frame_may_go_once_the_latch_is_seen_set
latch_last_access       latch     the_frame_may_go_once_the_latch_is_seen_set
latch_announce_answer   latch     the_waiter_never_sleeps_with_the_latch_set
latch_runner_set        scope     a_waiter_takes_nothing_when_its_thief_is_clean_again
wait_marks_foreign      scope     a_waiter_takes_nothing_that_was_public_below_its_thief_s_scope
wait_marks_foreign      scope     a_waiter_takes_nothing_when_its_thief_is_clean_again
wait_clean_first        scope     a_waiter_takes_nothing_when_its_thief_is_clean_again
foreign_set             scope     a_waiter_takes_nothing_when_its_thief_is_clean_again
foreign_read            scope     a_waiter_takes_nothing_when_its_thief_is_clean_again
latch_set               join      both_run_once
latch_read              join      both_run_once
latch_last_access       join      both_run_once
ring_offer              join      both_run_once
join_left_waits         join      a_left_panic_comes_out_after_the_right_one_has_run_or_was_withdrawn
join_left_waits         join      of_two_panics_the_left_one_comes_out_and_the_other_is_dropped
ledger_finish           scope     the_last_to_finish_sets_the_latch_once_and_sees_what_all_wrote
ledger_settled          scope     the_last_to_finish_sets_the_latch_once_and_sees_what_all_wrote
ledger_close            scope     the_last_to_finish_sets_the_latch_once_and_sees_what_all_wrote
scope_publish_fence     scope     nobody_sleeps_through_a_task_of_a_scope
scope_second_look       scope     nobody_sleeps_through_a_task_of_a_scope
sleep_park_fence        scope     nobody_sleeps_through_a_task_of_a_scope
sleep_publish_fence     sleep     nobody_sleeps_through_work_that_was_published
sleep_park_fence        sleep     nobody_sleeps_through_work_that_was_published
sleep_second_look       sleep     nobody_sleeps_through_work_that_was_published
broadcast_wake          broadcast a_worker_runs_a_broadcast_once
once_second_look        once      two_threads_that_use_it_first_make_one
sleep_active_fence      sleep     a_watcher_that_leaves_sees_who_turns_busy
sleep_active_fence      sleep     a_job_pushed_without_a_fence_is_seen_by_who_falls_asleep
sleep_wake_seen         sleep     a_job_pushed_without_a_fence_is_seen_by_who_falls_asleep
seat_claim              sleep     a_thread_that_wakes_by_itself_sees_what_a_guest_did
seat_release            sleep     a_thread_that_wakes_by_itself_sees_what_a_guest_did
seat_granted            sleep     a_seat_has_one_holder_and_passes_on_what_that_one_did
seat_grant              sleep     a_grant_passes_on_what_a_guest_did_just_before_it
wait_notes_guest_first  seat      a_guest_that_waits_for_its_thief_is_woken_and_so_is_its_worker
latch_set               seat      a_guest_that_waits_for_its_thief_is_woken_and_so_is_its_worker
ring_steal_bottom       seat      a_ring_passes_from_a_guest_to_its_thread_under_the_eyes_of_a_thief
broadcast_wake          seat      a_ring_passes_from_a_guest_to_its_thread_under_the_eyes_of_a_thief
shutdown_last_look      shutdown  one_worker_runs_what_was_spawned_before_it_leaves
terminate_read          shutdown  one_worker_runs_what_was_spawned_before_it_leaves
shutdown_withdraws      future    a_runtime_that_ends_tells_the_handles_of_waiting_futures
future_wake             future    a_wake_up_during_a_poll_is_answered
future_again            future    a_wake_up_during_a_poll_is_answered
future_pause            future    polls_on_two_workers_follow_each_other
future_begin            future    polls_on_two_workers_follow_each_other
future_withdraw         future    a_future_that_waits_is_withdrawn_after_its_poll
handle_wakes            future    who_awaits_a_handle_outside_is_woken
share_front_is_atomic   share     each_index_goes_to_one_of_two
share_half_is_atomic    share     each_index_goes_to_one_of_two
terminate_set           shutdown  what_another_thread_spawned_before_runs_too
sleep_publish_fence     sleep     nobody_sleeps_through_work_that_was_published_for_a_group
retire_passes_on        resize    a_task_for_which_a_retiring_worker_was_woken_runs
batch_generation        batch     batches_of_one_are_used_again
batch_open              batch     batches_of_one_are_used_again
batch_reserve           batch     batches_of_one_are_used_again
batch_strays            batch     two_producers_fill_batches
batch_stamp             batch     two_producers_and_a_seal
batch_light             batch     two_producers_and_a_seal
batch_heavy             batch     two_producers_and_a_seal
lease_light             lease     a_lease_is_used_or_lost_when_its_batch_is_taken
lease_heavy             lease     a_lease_is_used_or_lost_when_its_batch_is_taken
lease_retract           lease     a_lease_is_used_or_lost_when_its_batch_is_taken
lease_generation        lease     a_lease_of_an_incarnation_before_is_refused
lease_names             lease     who_loses_a_lease_gets_another_one
batch_light             lease     of_two_that_are_under_way_one_finds_the_batch
number_take             lease     a_number_goes_to_another_thread_with_all_that_was_done
number_give             lease     a_number_goes_to_another_thread_with_all_that_was_done
batch_add_wakes         batcher   nobody_sleeps_through_an_item
batch_add_looks         batcher   the_end_of_the_runtime_leaves_no_item_behind
batch_add_looks         batcher   the_end_of_the_runtime_leaves_no_item_in_an_open_batch
batch_close_fence       batcher   the_end_of_the_runtime_leaves_no_item_behind
batch_room_fence        batcher   who_waits_for_room_is_told_of_it
batch_run_wakes         batcher   who_ends_a_batch_wakes_whoever_had_no_room_to_run
batch_run_fence         batcher   who_ends_a_batch_sees_what_comes_meanwhile
retire_seals_first      batcher   what_is_left_when_the_last_handle_goes_is_run
retire_fence            batcher   a_batcher_without_handles_and_items_goes
isolated_wait           isolate   a_wait_inside_runs_what_was_created_inside_and_nothing_else
sleep_second_look       isolate   nobody_sleeps_through_a_task_that_goes_first
cancel_withdraws        cancel    a_task_spawned_while_its_token_is_cancelled_is_dropped
cancel_register_looks   cancel    a_task_spawned_while_its_token_is_cancelled_is_dropped
cancel_set              cancel    who_sees_the_token_cancelled_sees_what_came_before
cancel_read             cancel    who_sees_the_token_cancelled_sees_what_came_before
'

named=$(awk 'NF { print $1 }' <<<"$mutations" | sort -u)
used=$(grep -rhoE '(ordering|full_fence|fence_after_rmw|left_out)!\("[a-z_]+"' src | sed 's/.*"\(.*\)"/\1/' | sort -u)
if ! diff <(echo "$used") <(echo "$named"); then
    echo 'the names in src (<) and in this list (>) differ' >&2
    exit 1
fi

export RUSTFLAGS='--cfg upbeat_loom' CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target}/loom" RUST_BACKTRACE=0
export CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_DEBUG=0 CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16
unset UPBEAT_TEST_WEAKEN
built=$(cargo test -p upbeat-loom-tests --release --no-run 2>&1) || { echo "$built" >&2; exit 1; }
cargo test -q -p upbeat-loom-tests --release --tests
RUSTDOCFLAGS="$RUSTFLAGS" cargo test -q -p upbeat-loom-tests --release --doc
[[ "${1-}" == --models-only ]] && exit 0

failures=0
while read -r name file model; do
    [[ -z "$name" ]] && continue
    program=$(grep -oE "\(.*/deps/$file-[0-9a-f]+\)" <<<"$built" | tr -d '()')
    status=0
    output=$(UPBEAT_TEST_WEAKEN="$name" timeout 120 "$program" --exact "$model" 2>&1) || status=$?
    case "$status" in
    101 | 134) echo "$name: $model fails, as it must" ;;
    0) echo "$name: $model does not notice" >&2; failures=$((failures + 1)) ;;
    *) echo "$name: $model ends with status $status"$'\n'"$output" >&2; failures=$((failures + 1)) ;;
    esac
    if [[ "$status" == 0 && "$output" != *'1 passed'* ]]; then
        echo "$name: there is no model $model in $file" >&2
    fi
done <<<"$mutations"
exit $((failures > 0))
