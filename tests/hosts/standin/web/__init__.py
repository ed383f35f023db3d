"""A small threaded HTTP/1.1 server with the manners of mochiweb and webmachine."""
