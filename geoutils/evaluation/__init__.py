"""Numbers and sentences from predictions tables. Nothing here loads torch or knows a method or a picture.

`accuracy` has Table I, single cities and confusion; `intervals` how sure a number is; `distances` kilometres;
`confidence` how far a method's own can be trusted; `findings` what to say of all that.

To add a number: a function of a predictions table here, and one call in notebook 07.
"""
