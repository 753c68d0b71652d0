//! The cases, and the one table of them.

mod access;
mod chroot;
mod containers_and_ttl;
mod leaders;
mod lost_replies;
mod multi;
mod nodes;
mod ordering;
mod reads;
mod reconnects;
mod sequences;
mod sessions;
mod streams;
mod versions;
mod watches;

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use crate::{Ability, Backend, Scene};

type Running<'a> = Pin<Box<dyn Future<Output = ()> + 'a>>;

/// One case: a sentence that is true of every backend.
pub struct Case<B: Backend> {
    topic: &'static str,
    name: &'static str,
    needs: &'static [Ability],
    body: for<'s> fn(&'s Scene<'_, B>) -> Running<'s>,
}

/// How a case ended that did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a case that was left out has shown nothing"]
#[expect(clippy::exhaustive_enums, reason = "what fails panics")]
pub enum Verdict {
    /// It is kept.
    Passed,
    /// It did not run: the backend cannot do this.
    LeftOut(Ability),
}

impl<B: Backend> Case<B> {
    /// Which part of the semantics it belongs to.
    pub fn topic(&self) -> &'static str {
        self.topic
    }

    /// The sentence.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// What it needs beyond a connection.
    pub fn needs(&self) -> &'static [Ability] {
        self.needs
    }

    /// The first ability that it needs and this backend lacks.
    pub fn lacks(&self, backend: &B) -> Option<Ability> {
        self.needs.iter().copied().find(|ability| !backend.has(*ability))
    }

    /// Runs it.
    ///
    /// # Panics
    ///
    /// If it is not kept.
    pub async fn run(&self, backend: &B) -> Verdict {
        if let Some(ability) = self.lacks(backend) {
            return Verdict::LeftOut(ability);
        }
        let scene = Scene::open(backend, self.name).await;
        (self.body)(&scene).await;
        scene.close().await;
        Verdict::Passed
    }
}

impl<B: Backend> fmt::Debug for Case<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Case").field("topic", &self.topic).field("name", &self.name).finish_non_exhaustive()
    }
}

/// The case of this name.
pub fn case<B: Backend>(name: &str) -> Option<Case<B>> {
    cases().into_iter().find(|case| case.name == name)
}

/// The list of all cases, and a macro over their names. (A macro that makes a macro has to be given the dollar sign.)
macro_rules! table {
    ($dollar:tt $($topic:ident { $($name:ident $(needs $($need:ident)*)?;)* })*) => {
        /// All cases, by topic.
        pub fn cases<B: Backend>() -> Vec<Case<B>> {
            vec![$($(Case {
                topic: stringify!($topic),
                name: stringify!($name),
                needs: &[$($(Ability::$need),*)?],
                body: |scene| Box::pin($topic::$name(scene)),
            },)*)*]
        }

        /// Calls `$each!` once with the names of all cases, separated by spaces; see the crate's documentation.
        #[macro_export]
        macro_rules! for_each_case {
            ($dollar each:ident) => {
                $dollar each! { $($($name)*)* }
            };
        }
    };
}

table! { $
    nodes {
        a_created_node_is_there_with_its_data;
        a_new_node_has_the_stat_of_its_creation;
        an_ephemeral_node_names_its_session;
        a_node_that_exists_is_not_created_again;
        a_node_without_a_parent_is_not_created;
        the_root_is_neither_created_nor_deleted;
        ephemeral_nodes_have_no_children;
        a_deleted_node_is_gone;
        a_missing_node_is_refused_by_what_needs_one;
        a_node_with_children_is_not_deleted;
        data_is_any_bytes_and_none;
        large_data_comes_back_whole;
        names_are_any_text;
        children_are_told_by_their_names;
        a_node_made_again_is_another;
        every_mode_makes_a_node;
    }
    versions {
        a_write_counts_the_version_and_takes_a_zxid;
        a_write_counts_even_if_the_data_is_the_same;
        a_write_for_another_version_changes_nothing;
        any_version_will_do_where_none_is_named;
        one_of_two_writes_for_a_version_wins;
        children_count_in_the_parents_stat;
        only_a_nodes_own_children_are_in_its_stat;
        a_childs_end_counts_like_its_deletion;
        zxids_grow_with_every_change_of_anybody;
        what_was_refused_left_no_trace;
    }
    sequences {
        numbers_begin_at_zero_and_have_ten_digits;
        all_names_of_a_parent_share_one_count;
        a_name_may_be_all_number;
        deletions_give_no_number_back;
        numbers_begin_again_with_a_new_parent;
        the_stat_tells_the_next_number;
        numbers_are_in_the_order_of_creation;
        what_was_refused_took_no_number;
        a_number_whose_name_is_taken_is_refused;
    }
    reads {
        descendants_are_counted_at_any_depth;
        each_of_several_reads_has_its_own_outcome;
        no_reads_have_no_outcomes;
        many_children_are_all_told;
        own_ephemerals_are_found_by_the_beginning_of_their_paths;
        a_read_after_sync_sees_what_was_written_before;
        the_configuration_can_be_read;
        a_server_that_stands_alone_has_nothing_to_configure needs Alone;
    }
    multi {
        a_multi_of_nothing_does_nothing;
        each_operation_has_its_result;
        a_multi_is_one_change;
        a_refused_multi_names_the_operation_and_changes_nothing;
        every_refusal_is_told_by_a_multi_as_well;
        an_operation_sees_those_before_it;
        numbers_count_within_a_multi;
        a_multi_fires_what_its_operations_fire;
        a_refused_multi_fires_nothing;
        a_multi_meant_for_another_session_is_not_done;
        refusals_depend_on_what_came_before_in_the_multi;
        the_root_is_refused_in_a_multi_as_well;
        what_comes_and_goes_in_a_multi_is_told;
        a_multi_counts_in_the_parents_stat;
        every_mode_works_in_a_multi;
    }
    watches {
        a_data_watch_tells_of_a_write;
        a_write_of_the_same_data_is_told_too;
        a_data_watch_tells_of_the_deletion;
        a_data_watch_does_not_tell_of_children;
        an_exists_watch_tells_of_the_creation;
        an_exists_watch_outlives_the_lack_of_a_parent;
        an_exists_watch_on_a_node_tells_of_its_change_and_end;
        a_child_watch_tells_of_a_new_child;
        a_child_watch_tells_of_a_childs_end;
        a_child_watch_tells_of_the_nodes_own_end;
        a_child_watch_does_not_tell_of_data_or_grandchildren;
        access_lists_fire_nothing;
        refused_writes_fire_nothing;
        reads_fire_nothing;
        a_watch_tells_of_the_first_change_only;
        a_new_watch_tells_of_the_next_change;
        the_event_is_there_before_the_reply_of_ones_own_write;
        the_event_is_there_before_a_read_shows_the_change;
        a_deletion_is_told_to_data_and_child_watches;
        data_and_child_watches_of_a_node_are_apart;
        everybody_who_watches_is_told;
        a_dropped_watch_harms_no_other;
        a_refused_read_leaves_no_watch;
        the_end_of_a_session_fires_for_its_nodes;
        watches_end_with_their_client;
        the_end_of_ones_own_nodes_is_told_at_the_close;
    }
    streams {
        a_persistent_watch_tells_of_its_node_and_its_children_again_and_again;
        a_recursive_watch_tells_of_every_node_below_and_of_no_children;
        a_watch_that_stays_may_wait_for_its_node;
        every_client_on_one_path_hears_what_its_own_mode_tells;
        several_streams_and_watches_of_one_client_all_hear;
        a_stream_has_the_event_before_the_reply_of_ones_own_write;
        a_stream_has_the_event_before_a_read_shows_the_change;
        a_multi_is_told_operation_by_operation;
        a_recursive_watch_tells_of_the_nodes_that_a_session_leaves;
        the_servers_watch_goes_with_the_last_stream;
        a_dropped_stream_harms_no_watch_of_the_same_node;
        watches_that_are_taken_away_say_so;
        one_is_told_of_ones_own_watches_only needs OwnWatches;
        a_reader_that_is_too_slow_is_told_that_it_missed_some;
        a_stream_below_a_chroot_has_its_paths;
        streams_end_with_their_client;
        streams_end_with_their_session needs Expire;
        a_stream_tells_of_a_gap_after_a_reconnect needs Disconnect;
        a_reconnected_stream_still_frees_its_watch needs Disconnect;
    }
    ordering {
        requests_take_effect_in_the_order_of_submission;
        a_refusal_does_not_stop_what_comes_behind;
        clones_of_a_client_share_one_order;
        a_dropped_future_is_carried_out;
        a_future_dropped_at_work_is_carried_out;
        the_outcome_of_an_abandoned_call_goes_to_its_undo;
        an_awaited_call_is_not_undone;
        a_node_of_ones_own_is_released_once;
        a_release_tells_watchers_of_the_end_or_the_hand_over;
        a_release_for_another_session_is_not_done;
        a_node_of_ones_own_is_found_by_its_data;
        the_untyped_way_in_is_the_same;
    }
    sessions {
        every_client_has_a_session_of_its_own;
        closing_takes_the_ephemeral_nodes_and_no_others;
        a_closed_client_accepts_nothing;
        what_was_submitted_before_the_close_is_done;
        a_session_ends_in_one_change;
        anybody_may_delete_an_ephemeral_node;
        an_expired_session_loses_its_nodes needs Expire;
        a_client_outlives_its_session needs Expire;
        watches_are_told_of_the_expiry_and_do_not_move_over needs Expire;
        what_is_bound_to_an_expired_session_is_not_done needs Expire;
        ephemerals_of_a_closed_session_do_not_block_a_name;
        what_waits_when_its_session_expires_is_not_done needs Disconnect Expire;
        the_states_of_a_session_are_told_in_turn needs Disconnect;
    }
    reconnects {
        a_session_outlives_its_connection needs Disconnect;
        requests_wait_for_the_connection_in_their_order needs Disconnect;
        a_dropped_request_that_waits_is_carried_out needs Disconnect;
        watches_are_left_again_after_a_reconnect needs Disconnect;
        what_changed_meanwhile_is_told_after_the_reconnect needs Disconnect;
        only_the_last_state_of_what_changed_is_told needs Disconnect;
        many_watches_are_left_again needs Disconnect;
        a_reconnected_session_sees_what_it_saw_before needs Disconnect;
        more_than_the_limit_is_refused_at_once needs Disconnect Limit;
    }
    lost_replies {
        a_write_whose_reply_is_lost_is_neither_done_nor_refused needs LoseReply;
        a_node_whose_creation_was_not_answered_is_found needs LoseReply;
        a_release_whose_reply_is_lost_is_done_for_certain needs LoseReply;
        an_undo_is_told_that_the_reply_is_lost needs LoseReply;
    }
    leaders {
        a_session_outlives_the_leader_with_all_that_is_its_own needs LoseLeader;
        what_was_acknowledged_is_there_under_the_next_leader needs LoseLeader;
        what_is_under_way_when_the_leader_is_lost_is_done_whole_or_not_at_all needs LoseLeader;
        a_node_that_stands_for_a_lock_has_one_owner_under_both_leaders needs LoseLeader;
        a_read_after_settling_sees_what_another_server_has_acknowledged needs LoseLeader;
        numbers_go_on_under_the_next_leader needs LoseLeader;
    }
    access {
        a_node_is_open_unless_it_is_said_otherwise;
        a_list_is_kept_as_it_was_given;
        a_new_list_counts_in_a_version_of_its_own;
        reading_needs_read;
        writing_needs_write;
        creating_needs_create_on_the_parent;
        deleting_needs_delete_on_the_parent;
        a_new_list_needs_admin;
        who_may_change_a_list_may_read_it;
        permissions_are_not_inherited;
        lists_that_mean_nobody_are_refused;
        a_list_is_judged_before_the_node_is_looked_for;
        the_creator_is_nobody_without_an_identity;
        a_node_for_one_user_is_closed_to_others needs Digest;
        several_identities_all_count needs Digest;
        an_identity_counts_for_what_comes_behind_it needs Digest;
        passwords_are_told_to_nobody_who_may_not_change_them needs Digest;
        one_is_told_who_one_is needs Digest;
        the_same_identity_twice_is_one needs Digest;
        a_digest_without_a_user_is_no_list needs Digest;
        who_may_not_read_is_not_told;
        an_address_needs_no_proof;
        what_is_an_address;
        an_entry_twice_says_nothing_more;
        permissions_that_mean_nothing_are_kept;
        who_may_not_is_told_nothing_else;
        the_halves_of_a_digest needs Digest;
        a_user_without_a_password_is_a_user needs Digest;
        the_creator_stands_beside_others needs Digest;
        an_identity_that_is_not_accepted_ends_the_client;
        identities_are_proven_again_after_a_reconnect needs Digest Disconnect;
        identities_outlive_the_session needs Digest Expire;
        one_stays_who_one_is needs Digest Disconnect Expire;
        addresses_are_identities needs Loopback;
    }
    containers_and_ttl {
        a_container_is_a_node_like_others;
        a_container_outlives_its_session;
        a_container_goes_some_time_after_its_last_child needs PassTime;
        a_container_that_was_never_used_stays needs PassTime;
        a_node_with_a_time_to_live_is_a_node_like_others needs TimeToLive;
        the_bounds_of_a_time_to_live needs TimeToLive;
        a_time_to_live_is_refused_where_it_is_not_allowed needs NoTimeToLive;
        a_node_goes_when_its_time_to_live_is_over needs TimeToLive PassTime;
        a_write_begins_the_time_to_live_anew needs TimeToLive PassTime;
        a_node_with_children_outlives_its_time needs TimeToLive PassTime;
    }
    chroot {
        paths_below_a_chroot_are_its_own;
        events_below_a_chroot_have_its_paths;
        watches_below_a_chroot_are_left_again needs Disconnect;
        sequential_nodes_are_made_at_the_top_of_a_chroot;
        a_chroot_maps_every_operation_of_a_multi;
        own_ephemerals_below_a_chroot_have_its_paths;
        a_chroot_that_is_missing_has_nothing;
        a_chroot_within_a_chroot_is_one;
    }
}
