"""What `robustkd clean` removes: decoded images that were not used for long, and studies that no command continues.

Everything is recognised by its content. Links are never followed, and only files that robustkd writes are removed, one by one.
"""
