//! Each rule by an example.
