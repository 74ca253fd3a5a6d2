"""What people read about studies: pages on a terminal and in Markdown and LaTeX, HTML reports, charts, cards and contact sheets.

A study's page is summary.py, its HTML report study_report.py with sections/; several studies are study_table.py and
sweep_report.py. Both use the same tables: metric_tables.py, verdict_table.py, class_tables.py, cost_table.py. Tables are rendered by
renderers/, charts are in charts/, the text of HTML and Markdown documents in templates/.
"""
