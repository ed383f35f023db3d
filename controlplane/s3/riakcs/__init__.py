"""What Riak CS 3.2.4 answers, read as it really comes (recordings in ../shared/riakcs/s3.jsonl), and its requests."""
