"""The sections of a study's report, a module each: which tables and pictures they have, and what is said about them."""
