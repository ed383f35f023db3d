"""How nodes reach each other: frames, cookies, the port mapper."""
