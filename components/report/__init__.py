"""The report: one self-contained HTML file on a run, with the figures as PNGs and JSON beside it.

`component` and `executor` are the step that makes it: `contents` gathers what the other steps
wrote, `pictures` picks and draws images, `plots` draws figures, `page` puts them into
report.html.j2. `result` names what is written.
"""
