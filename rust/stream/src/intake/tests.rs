use super::*;

fn assigned(topic: &str, partition: i32) -> Assigned {
    let partition = TopicPartition::new(topic, partition);
    Assigned {
        partition,
        topic: 0,
        expected: None,
        start: 0,
        end: None,
        letters: Letters::new(),
        stops_at_end: false,
    }
}

#[test]
fn every_thread_gets_a_like_share_of_every_topic() {
    let all = ["a", "b"].iter().flat_map(|topic| (0..4).map(|number| assigned(topic, number))).collect();

    let shares = shares(all, 2);

    for share in &shares {
        for topic in ["a", "b"] {
            assert_eq!(share.iter().filter(|one| one.partition.topic == topic).count(), 2, "{topic}");
        }
    }
}

#[test]
fn there_are_never_more_threads_than_partitions() {
    assert_eq!(shares(vec![assigned("a", 0)], 4).len(), 1);
    assert_eq!(shares(Vec::new(), 4).len(), 1);
}

#[test]
fn a_third_of_the_budget_stands_in_decoders() {
    let goal = ChunkGoal::share(60_000_000, 2);

    assert_eq!(goal.bytes * 2 * 3, 60_000_000);
}
