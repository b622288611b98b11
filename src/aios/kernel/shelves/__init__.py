"""Shelves: documents that are searched together, by a ranking that depends on nothing else.

Whose documents share a shelf is their users' to say, such as one owner's notes or those of a group. Each
shelf has word statistics of its own, so that no score tells of what is not on it.
"""
