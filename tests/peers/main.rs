//! Scenarios made from what went wrong in other tools: each of their faults is
//! a test here, or a test named here, or cannot be.
//!
//! Paths without a folder are beside this file. [`table`] holds that every
//! number is here once, and every test where it is said to be.
//!
//! | number | scenario | tests |
//! | --- | --- | --- |
//! | 1 | one bad sample, recovered before the delay ends: no switch | `evidence.rs` `a_main_that_is_back_before_the_wait_is_over_is_not_left`, `one_failed_probe_moves_nothing_although_an_alert_fires`; with the binary `tests/behaviour/probes.rs` `one_failed_probe_moves_nothing` |
//! | 2 | an error inside a probe is unknown and has no vote | `evidence.rs` `an_error_of_our_own_side_has_no_vote`; which errors those are `tests/probe.rs` `settings_that_make_no_request_are_our_own_fault`, `tests/probe/secure.rs` `a_ca_file_that_is_missing_or_empty_is_our_own_fault` |
//! | 3 | a restart on BACKUP with MAIN dead and no state file stays | `restarts.rs` `without_any_state_a_restart_stays_on_backup_while_main_is_dead` |
//! | 4 | a restart in mid-write reads again and makes no second switch | `writes.rs` `a_restart_at_any_moment_of_a_switch_makes_one_of_it`; with the binary `tests/process/state.rs` `a_crash_while_the_write_is_on_its_way_makes_no_second_switch`, `a_crash_at_any_moment_after_the_write_leaves_it_ours` |
//! | 5 | a PATCH that timed out and was applied is recognised, not repeated, counted once | `writes.rs` `a_write_that_times_out_and_was_done_is_recognised_and_counted_once`; with the binary `tests/process/silence.rs` `a_switch_of_unknown_outcome_is_counted_once_when_it_is_found_done` |
//! | 6 | 500, 429, `"success": false` and HTML leave the state as it was; `Retry-After` is obeyed | `record.rs` `a_write_that_failed_leaves_the_state_as_it_was_and_is_tried_again`; `tests/process/answers.rs` `a_throttled_write_waits_as_long_as_it_is_told`, `a_throttled_read_waits_as_long_as_it_is_told` |
//! | 7 | a third address is held, adopted or reclaimed; a dead one is left, for MAIN too | `writes.rs` `an_address_that_nobody_configured_is_held_adopted_or_reclaimed_as_told`, `a_dead_third_address_is_left_for_whoever_lives` |
//! | 8 | a record that is deleted, doubled, a CNAME, half proxied: hold, create nothing, delete nothing | `record.rs` `a_record_that_is_gone_doubled_or_of_another_type_is_neither_made_nor_deleted` |
//! | 9 | proxied, TTL, comment and tags are kept | `record.rs` `everything_but_the_content_of_a_record_stays_as_it_is`; in a batch `tests/behaviour/shapes.rs` `hostnames_of_a_site_move_together_in_one_batch` |
//! | 10 | a redirect is not followed away from the pinned address | `probes.rs` `a_redirect_does_not_lead_a_probe_away_from_its_origin` |
//! | 11 | the server name is the host, never an address; the certificate is verified for it | `tests/behaviour/tls.rs` `ca_file_makes_an_origin_certificate_good`, `a_certificate_for_another_name_is_named`; `tests/probe/secure.rs` `a_host_that_is_an_address_is_checked_and_not_sent_as_a_name` |
//! | 12 | an IPv6 origin: dialled as it is, its AAAA record alone is moved | `writes.rs` `an_ipv6_site_has_its_aaaa_record_moved_and_no_other`; `tests/probe/names.rs` `an_ipv6_origin_is_probed` |
//! | 13 | all control targets dead: nothing moves, and `originswitch_blind` says so | `evidence.rs` `while_no_control_target_answers_nothing_moves`; with the binary `tests/behaviour/holds.rs` `every_hold_has_its_scenario` |
//! | 14 | MAIN and BACKUP dead: nothing moves; a MAIN that recovers is not waited for | `evidence.rs` `with_all_down_nothing_moves_and_a_main_that_recovers_is_not_waited_for` |
//! | 15 | an origin that loses some requests is decided in bounded time | `evidence.rs` `an_origin_that_loses_some_requests_is_decided_in_bounded_time`; every other one `tests/loops/leaving.rs` `an_origin_that_fails_every_other_probe_is_left_in_bounded_time` |
//! | 16 | a process suspended for minutes counts anew and does nothing at its first tick | `evidence.rs` `a_machine_that_slept_for_five_minutes_starts_counting_anew`; `restarts.rs` `a_process_that_was_stopped_decides_nothing_at_its_first_tick` |
//! | 17 | a wall clock set by an hour has no effect | `evidence.rs` `a_wall_clock_that_is_set_by_an_hour_moves_nothing_and_delays_no_flight`; on what is counted `tests/loops/remembering.rs` `a_machine_that_slept_waits_for_main_again` |
//! | 18 | two instances: the same decision, at most one effective write; a fight ends | `record.rs` `two_instances_decide_the_same_and_change_the_record_once`; `writes.rs` `an_instance_that_sees_it_otherwise_does_not_fight_for_the_record`, `a_fight_with_another_tool_ends_with_the_budget_and_says_so` |
//! | 19 | an instance that takes over reads where the record is | `restarts.rs` `an_instance_that_takes_over_with_an_old_state_reads_where_the_record_is` |
//! | 20 | fifty sites down in one tick: the brake, its release, its window | `together.rs` `of_fifty_sites_that_go_down_together_the_brake_holds_most_until_it_is_released`, `the_brake_lets_the_others_go_as_its_window_slides` |
//! | 21 | a dry run: no write, no state, no budget spent, its own label | `writes.rs` `a_dry_run_writes_nothing_and_spends_nothing`; with the binary `tests/behaviour/brakes.rs` `a_dry_run_says_once_what_it_would_do_and_writes_nothing` |
//! | 22 | storms, 50 MB, truncated, resolved first, unknown labels, no fingerprint, other payloads | `webhooks.rs` `a_body_of_fifty_megabytes_is_refused_and_not_held`, `odd_webhooks_are_taken_for_what_they_are_and_the_next_alert_counts`; `tests/behaviour/storm.rs` `a_storm_about_a_dead_main_makes_one_switch`, `a_storm_about_a_healthy_main_moves_nothing` |
//! | 23 | an origin that hangs for 30 s delays no other | `probes.rs` `origins_that_hang_delay_no_other_site` |
//! | 24 | Cloudflare's own address is no origin, and its answers are no evidence | `probes.rs` `an_origin_at_cloudflares_own_address_is_refused`; `tests/behaviour/probes.rs` `an_answer_of_the_cdn_is_no_evidence` |
//! | 25 | a token revoked while idle is told before it is needed; nothing is sent blindly | `record.rs` `a_token_revoked_while_nothing_happens_is_told_and_nothing_is_sent_with_it`; within an hour at most `src/cloudflare/health.rs` `the_token_is_verified_at_start_and_every_hour` |

#[expect(
    dead_code,
    unused_imports,
    reason = "other test programs use more of it"
)]
#[path = "../behaviour/common.rs"]
mod common;
mod evidence;
mod probes;
mod record;
mod restarts;
#[path = "../support/mod.rs"]
mod support;
mod table;
mod together;
mod webhooks;
mod writes;
