//! What Prometheus would scrape.

/// The sum of a family's samples that have all these labels.
pub fn sum(text: &str, family: &str, labels: &[(&str, &str)]) -> f64 {
    let labels: Vec<_> = labels.iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
    text.lines()
        .filter_map(|line| line.strip_prefix(family)?.strip_prefix('{')?.rsplit_once("} "))
        .filter(|(given, _)| labels.iter().all(|label| given.split(',').any(|one| one == label)))
        .filter_map(|(_, value)| value.parse::<f64>().ok())
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_of_one_family_are_summed_by_their_labels() {
        let text = "# TYPE a counter\na{code=\"200\",verb=\"PUT\"} 2\na{code=\"409\",verb=\"PUT\"} 1\n\
                    a_b{verb=\"PUT\"} 9\na{subverb=\"PUT\"} 9\n";
        assert_eq!(sum(text, "a", &[("verb", "PUT")]), 3.0);
        assert_eq!(sum(text, "a", &[("verb", "PUT"), ("code", "409")]), 1.0);
        assert_eq!(sum(text, "a", &[("verb", "GET")]), 0.0);
    }
}
