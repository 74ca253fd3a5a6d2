"""The sections of a study's report, a module each: their tables and pictures, and the text around them."""
