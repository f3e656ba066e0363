"""Pictures of given tables: figures, maps, pages, widgets. Nothing here computes a result.

`canvas` is what every figure wears; `plots` and `maps` draw; `pages` and `report` write HTML from templates/;
`explore` is notebook 08.

To add a picture: a function of a table in `plots` or `maps` that takes `origin`, and one call in the notebook that
shows it.
"""
