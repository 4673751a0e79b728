//! Fuzz targets of the workspace next to this one; docs/fuzzing.md says how they are run.

pub mod entries;
