"""Statistics of a cohort, tables in and tables out; must not know files, images or pages."""
