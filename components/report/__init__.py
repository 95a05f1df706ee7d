"""The report: one self-contained HTML file on a run, with the figures as PNGs and JSON beside it.

`component` and `executor` are the step that makes it: `inputs` says which output of which step it
reads, `gather` reads them into what `contents` describes, `choose` picks the test images that are
shown, `pictures` draws them, `plots` draws figures, and `page` puts all of it into report.html.j2.
`result` names what is written.
"""
