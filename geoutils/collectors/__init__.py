"""Photos brought from elsewhere, for whoever has none. Only the command and notebooks import this.

`commons` collects openly licensed photos of cities from Wikimedia Commons, through `mediawiki`'s questions to its API.
"""
