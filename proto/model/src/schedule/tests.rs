#![allow(clippy::unwrap_used, clippy::expect_used)]

use proptest::prelude::*;

use super::*;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn rate(seconds: u64) -> When {
    When::Rate(Duration::from_secs(seconds).try_into().unwrap())
}

fn cron(pattern: &str, zone: &str) -> When {
    When::Cron(Cron::new(pattern, zone).unwrap())
}

fn schedule(when: When) -> Schedule {
    Schedule::new(when, Misfire::Skip, None, None).unwrap()
}

fn local(when: When, after: &str, count: usize) -> Vec<String> {
    let schedule = schedule(when);
    let ticks = schedule.after(at(after)).take(count);
    ticks
        .map(|tick| schedule.local(tick).strftime("%F %R %:z").to_string())
        .collect()
}

#[test]
fn a_rate_counts_from_its_start_or_from_the_epoch() {
    let every = schedule(rate(3600));
    let found: Vec<_> = every.after(at("2026-11-24T10:00:00Z")).take(2).collect();
    assert_eq!(
        found,
        [at("2026-11-24T11:00:00Z"), at("2026-11-24T12:00:00Z")]
    );
    let (start, end) = (at("2026-11-24T10:20:00Z"), at("2026-11-24T12:20:00Z"));
    let bounded = Schedule::new(rate(3600), Misfire::Skip, Some(start), Some(end)).unwrap();
    let found: Vec<_> = bounded.after(Timestamp::MIN).collect();
    assert_eq!(found, [start, at("2026-11-24T11:20:00Z"), end]);
    assert_eq!(bounded.next_after(start), Some(at("2026-11-24T11:20:00Z")));
    // Before the epoch, and at the end of time.
    assert_eq!(
        every.next_after(at("1969-12-31T22:30:00Z")),
        Some(at("1969-12-31T23:00:00Z"))
    );
    assert_eq!(every.next_after(Timestamp::MAX), None);
}

#[test]
fn rates_have_their_limits() {
    let rate = |duration| Rate::try_from(duration);
    assert_eq!(rate(Duration::from_millis(999)), Err(RateError::Range));
    assert_eq!(
        rate(Duration::from_secs(366 * 86_400 + 1)),
        Err(RateError::Range)
    );
    assert_eq!(rate(Duration::from_micros(1_000_001)), Err(RateError::Fine));
    assert!(rate(Duration::from_millis(1_500)).is_ok());
}

#[test]
fn patterns_mean_what_cron_means() {
    for (pattern, expected) in [
        (
            "*/20 9 * * *",
            ["2026-11-24 09:00", "2026-11-24 09:20", "2026-11-24 09:40"],
        ),
        (
            "0 0 1,15 * *",
            ["2026-12-01 00:00", "2026-12-15 00:00", "2027-01-01 00:00"],
        ),
        (
            "30 8 * * MON-FRI",
            ["2026-11-24 08:30", "2026-11-25 08:30", "2026-11-26 08:30"],
        ),
        (
            "0 12 * * 0",
            ["2026-11-29 12:00", "2026-12-06 12:00", "2026-12-13 12:00"],
        ),
        (
            "0 12 * * 7",
            ["2026-11-29 12:00", "2026-12-06 12:00", "2026-12-13 12:00"],
        ),
        // Either day will do: Fridays, and each 13th.
        (
            "0 0 13 * 5",
            ["2026-11-27 00:00", "2026-12-04 00:00", "2026-12-11 00:00"],
        ),
        (
            "0 0 L * *",
            ["2026-11-30 00:00", "2026-12-31 00:00", "2027-01-31 00:00"],
        ),
        (
            "0 0 29 2 *",
            ["2028-02-29 00:00", "2032-02-29 00:00", "2036-02-29 00:00"],
        ),
        (
            "0 0 1 JAN *",
            ["2027-01-01 00:00", "2028-01-01 00:00", "2029-01-01 00:00"],
        ),
    ] {
        let found = local(cron(pattern, ""), "2026-11-24T00:00:00.5Z", 3);
        let expected = expected.map(|time| format!("{time} +00:00"));
        assert_eq!(found, expected, "{pattern}");
    }
}

#[test]
fn wrong_patterns_and_zones_are_refused() {
    let refused = |pattern, zone| Cron::new(pattern, zone).unwrap_err();
    assert_eq!(refused("@daily", ""), CronError::Fields(1));
    assert_eq!(refused("* * * * * *", ""), CronError::Fields(6));
    assert_eq!(refused("", ""), CronError::Fields(0));
    for pattern in [
        "60 * * * *",
        "* 24 * * *",
        "* * 0 * *",
        "* * * 13 *",
        "a * * * *",
        "5-1 * * * *",
    ] {
        assert!(
            matches!(refused(pattern, ""), CronError::Pattern(_)),
            "{pattern}"
        );
    }
    assert_eq!(refused("0 0 30 2 *", ""), CronError::Never);
    assert_eq!(
        refused("* * * * *", "Berlin"),
        CronError::Zone("Berlin".to_owned())
    );
}

/// In Berlin, at 2026-03-29 02:00 the clock shows 03:00.
#[test]
fn a_time_that_is_left_out_comes_as_much_later() {
    let found = |pattern, count| {
        local(
            cron(pattern, "Europe/Berlin"),
            "2026-03-28T12:00:00Z",
            count,
        )
    };
    assert_eq!(
        found("30 2 * * *", 2),
        ["2026-03-29 03:30 +02:00", "2026-03-30 02:30 +02:00"]
    );
    assert_eq!(
        found("0,30 2,3 29 3 *", 2),
        ["2026-03-29 03:00 +02:00", "2026-03-29 03:30 +02:00"]
    );
    let every = local(
        cron("30 * * * *", "Europe/Berlin"),
        "2026-03-29T00:00:00Z",
        3,
    );
    assert_eq!(
        every,
        [
            "2026-03-29 01:30 +01:00",
            "2026-03-29 03:30 +02:00",
            "2026-03-29 04:30 +02:00"
        ]
    );
    // The very time at which it is put forward.
    assert_eq!(found("0 2 * * *", 1), ["2026-03-29 03:00 +02:00"]);
}

/// In Berlin, at 2026-10-25 03:00 the clock shows 02:00.
#[test]
fn a_time_that_comes_twice_counts_once_unless_every_hour_counts() {
    let found = |pattern, count| {
        local(
            cron(pattern, "Europe/Berlin"),
            "2026-10-24T22:00:00Z",
            count,
        )
    };
    assert_eq!(
        found("30 2 * * *", 2),
        ["2026-10-25 02:30 +02:00", "2026-10-26 02:30 +01:00"]
    );
    assert_eq!(
        found("0 2,3 * * *", 3),
        [
            "2026-10-25 02:00 +02:00",
            "2026-10-25 03:00 +01:00",
            "2026-10-26 02:00 +01:00"
        ]
    );
    assert_eq!(
        found("15 * * * *", 5),
        [
            "2026-10-25 00:15 +02:00",
            "2026-10-25 01:15 +02:00",
            "2026-10-25 02:15 +02:00",
            "2026-10-25 02:15 +01:00",
            "2026-10-25 03:15 +01:00",
        ]
    );
}

#[test]
fn a_whole_day_that_is_left_out_comes_the_next() {
    // Samoa went over the date line: there was no 2011-12-30.
    let found = local(
        cron("0 12 * * *", "Pacific/Apia"),
        "2011-12-29T00:00:00Z",
        3,
    );
    assert_eq!(
        found,
        [
            "2011-12-29 12:00 -10:00",
            "2011-12-31 12:00 +14:00",
            "2012-01-01 12:00 +14:00"
        ]
    );
}

#[test]
fn what_never_ticks_is_refused() {
    let new = |start, end| {
        Schedule::new(
            cron("0 0 1 1 *", ""),
            Misfire::Skip,
            Some(at(start)),
            Some(at(end)),
        )
    };
    let never = new("2026-01-02T00:00:00Z", "2026-12-31T00:00:00Z");
    assert_eq!(never, Err(ScheduleError::Never));
    let first = new("2026-01-02T00:00:00Z", "2026-01-02T00:00:00Z");
    assert_eq!(first, Err(ScheduleError::EndsFirst));
    let fine = new("2026-01-01T00:00:00.0001Z", "2027-01-02T00:00:00Z");
    assert_eq!(fine, Err(ScheduleError::Fine));
    assert!(new("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z").is_ok());
}

#[test]
fn ticks_are_due_for_a_while_and_missed_after() {
    let after = at("2026-11-24T10:00:00Z");
    let now = at("2026-11-24T10:01:00.3Z");
    let due = |misfire| {
        let schedule = Schedule::new(rate(10), misfire, None, None).unwrap();
        schedule.due(after, now)
    };
    let tick = |second: i64| {
        after
            .checked_add(SignedDuration::from_secs(second))
            .unwrap()
    };
    let on_time = Due {
        run: vec![tick(60)],
        skipped: true,
        last: Some(tick(60)),
        next: Some(tick(70)),
    };
    assert_eq!(due(Misfire::Skip), on_time);
    let one_more = Due {
        run: vec![tick(50), tick(60)],
        ..on_time.clone()
    };
    assert_eq!(due(Misfire::RunOnce), one_more);
    let two_more = Due {
        run: vec![tick(40), tick(50), tick(60)],
        ..on_time.clone()
    };
    assert_eq!(due(Misfire::RunAll(2)), two_more);
    let all = Due {
        run: (1..=6).map(|n| tick(10 * n)).collect(),
        skipped: false,
        ..on_time
    };
    assert_eq!(due(Misfire::RunAll(5)), all);
    assert_eq!(due(Misfire::RunAll(100)), all);
    // Nothing twice, and nothing before its time.
    let schedule = schedule(rate(10));
    let later = schedule.due(tick(60), now);
    assert_eq!(
        (later.run, later.last, later.next),
        (vec![], None, Some(tick(70)))
    );
    let missed = schedule.due(after, tick(18));
    assert_eq!((missed.run, missed.last), (vec![], Some(tick(10))));
}

#[test]
fn years_of_missed_ticks_are_looked_at_from_their_end() {
    let second = Schedule::new(rate(1), Misfire::RunAll(3), None, None).unwrap();
    let due = second.due(Timestamp::UNIX_EPOCH, at("2026-11-24T10:00:00Z"));
    assert_eq!(due.run.len(), 3 + 5);
    let rare = Schedule::new(cron("0 0 29 2 *", ""), Misfire::RunAll(3), None, None).unwrap();
    let due = rare.due(Timestamp::UNIX_EPOCH, at("2026-11-24T10:00:00Z"));
    let expected =
        ["2016-02-29", "2020-02-29", "2024-02-29"].map(|day| at(&format!("{day}T00:00:00Z")));
    assert_eq!(due.run, expected);
    assert!(due.skipped);
}

fn any_schedule() -> impl Strategy<Value = Schedule> {
    let patterns = [
        "*/7 * * * *",
        "30 2 * * *",
        "0 */2 * * *",
        "15,45 1-3 * * SUN",
        "59 23 L * *",
    ];
    let zones = [
        "",
        "Europe/Berlin",
        "America/New_York",
        "Australia/Lord_Howe",
        "Asia/Kathmandu",
    ];
    let cron = (
        prop::sample::select(patterns.to_vec()),
        prop::sample::select(zones.to_vec()),
    )
        .prop_map(|(pattern, zone)| cron(pattern, zone));
    let rates = (1_u64..100_000).prop_map(rate);
    prop_oneof![cron, rates].prop_map(schedule)
}

proptest! {
    /// Each tick is the next of every time before it.
    #[test]
    fn ticks_ascend_and_none_is_passed_over(
        schedule in any_schedule(),
        from in 1_700_000_000_i64..1_900_000_000,
        parts in prop::collection::vec(1_i64..1_000, 1..8),
    ) {
        let from = Timestamp::from_second(from).unwrap();
        let ticks: Vec<_> = schedule.after(from).take(20).collect();
        prop_assert_eq!(ticks.len(), 20);
        let mut before = from;
        for tick in ticks {
            prop_assert!(tick > before);
            let between = tick.duration_since(before).as_nanos();
            for part in &parts {
                let passed = SignedDuration::from_nanos_i128(between * i128::from(*part) / 1_000);
                let time = before.checked_add(passed).unwrap();
                prop_assert_eq!(schedule.next_after(time), Some(tick).filter(|_| time < tick));
            }
            before = tick;
        }
    }

    /// However often one looks, each tick is made once.
    #[test]
    fn each_tick_is_due_once(
        schedule in any_schedule(),
        steps in prop::collection::vec(1_i64..5_000, 1..40),
    ) {
        let mut now = Timestamp::from_second(1_790_000_000).unwrap();
        let begin = now;
        let mut after = now;
        let mut made = Vec::new();
        for step in steps {
            now = now.checked_add(SignedDuration::from_millis(step)).unwrap();
            let due = schedule.due(after, now);
            made.extend(due.run);
            after = due.last.unwrap_or(after);
        }
        let all: Vec<_> = schedule.after(begin).take_while(|tick| *tick <= now).collect();
        prop_assert_eq!(made, all);
    }
}
