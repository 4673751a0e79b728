//! Which of the machine's package sources is a mirror of Debian's main archive.

/// Asks apt for its sources; `Repo-URI` is the part before `dists/`.
pub(crate) const INDEXTARGETS: [&str; 3] =
    ["indextargets", "--format", "$(ORIGIN)|$(LABEL)|$(REPO_URI)"];

/// The first mirror of Debian in what [`INDEXTARGETS`] printed. The security archive has the label Debian-Security and
/// neither the release's packages nor its backports, a disc no backports.
pub(crate) fn debian(indextargets: &str) -> Option<String> {
    let mut archives = indextargets.lines().filter_map(|line| line.strip_prefix("Debian|Debian|"));
    archives.find(|uri| !uri.starts_with("cdrom:")).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mirror_is_the_first_source_that_is_debian_itself() {
        let targets = "Node Source|Node Source|https://one.test/node_20.x/\n\
            Debian|Debian-Security|http://two.test/debian-security/\n\
            Debian|Debian|cdrom:[Debian 13]/\n\
            Debian|Debian|http://three.test/debian/\n\
            Debian|Debian|http://four.test/debian/\n";
        assert_eq!(debian(targets).as_deref(), Some("http://three.test/debian/"));
    }

    #[test]
    fn a_machine_without_debian_in_its_sources_has_no_mirror() {
        assert_eq!(debian(""), None);
        assert_eq!(debian("Ubuntu|Ubuntu|http://one.test/ubuntu/\n"), None);
        assert_eq!(debian("|Debian|http://two.test/debian/\n"), None);
    }
}
