"""The made-up photo world, for runs without photographs. Only the command and notebooks import this.

`generator` plans who photographs what by world.toml, `painter` draws it by scenery.toml. No number of it is a result.
"""
