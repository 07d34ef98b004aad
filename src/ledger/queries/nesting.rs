//! SQL that walks along groups in groups: up, to those that some groups are in, or down, to those
//! that are in them. However long the way is, each step looks in an index: PostgreSQL, which knows
//! little of a table that has just grown, would rather read all of it again at each step, and takes
//! the inner query with its OFFSET as it stands.

/// The steps of a recursive query on `walk (id)`, for one of the databases. Groups may form a loop:
/// UNION remembers where it was.
macro_rules! steps {
    (up sqlite) => {
        " UNION SELECT s.group_id FROM walk JOIN subgroups s ON s.member_id = walk.id"
    };
    (up postgres) => {
        " UNION SELECT s.group_id FROM walk CROSS JOIN LATERAL (
              SELECT group_id FROM subgroups WHERE member_id = walk.id OFFSET 0) s"
    };
    (down sqlite) => {
        " UNION SELECT s.member_id FROM walk JOIN subgroups s ON s.group_id = walk.id"
    };
    (down postgres) => {
        " UNION SELECT s.member_id FROM walk CROSS JOIN LATERAL (
              SELECT member_id FROM subgroups WHERE group_id = walk.id OFFSET 0) s"
    };
}
pub(super) use steps;

/// A query that walks from the groups that `$from` selects, and goes on with `$rest`, which reads
/// `walk (id)`.
macro_rules! walk {
    ($way:ident, $from:literal, $rest:literal) => {
        $crate::ledger::db::Text::Each {
            sqlite: concat!(
                "WITH RECURSIVE walk (id) AS (",
                $from,
                $crate::ledger::queries::nesting::steps!($way sqlite),
                ") ",
                $rest
            ),
            postgres: concat!(
                "WITH RECURSIVE walk (id) AS (",
                $from,
                $crate::ledger::queries::nesting::steps!($way postgres),
                ") ",
                $rest
            ),
        }
    };
}
pub(super) use walk;
