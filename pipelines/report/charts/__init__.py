"""Charts of a study, a sweep or a scenario: pure functions from tables to a matplotlib Figure, without pyplot's global state.

Charts of the report (`plot_forest`, `plot_matrix`, ...) are as wide as a column of it; it adds titles and legends.
Blue is better or more, vermilion worse; what is stronger is less transparent, so that a chart is legible on light and on dark
backgrounds.
"""
