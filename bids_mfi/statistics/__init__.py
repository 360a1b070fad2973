"""Statistics of a cohort, tables in and tables out."""
