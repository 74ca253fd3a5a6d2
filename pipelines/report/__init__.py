"""What people read about studies: pages on a terminal, in Markdown and in LaTeX, HTML reports, charts, model cards.

A study's page is summary.py, its HTML report study_report.py with sections/; several studies are study_table.py and
sweep_report.py. Both use the same tables: metric_tables.py, verdict_table.py, class_tables.py, cost_table.py. Tables are
rendered by renderers/, charts are in charts/, the text of HTML and Markdown documents is in templates/.
"""
