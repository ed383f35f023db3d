"""Who may do what: ACLs, bucket policies, and the one decision that is made of both."""
