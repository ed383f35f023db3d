"""Stand-ins for Riak KV 3.2.3 and Riak CS 3.2.4: their files, commands, ports and manners, in the standard library.

One implementation serves the .deb packages of the host tests (which carry this folder under its own module path) and,
on loopback, the control plane's own tests. DIFFERENCES.md says where the real ones behave otherwise.
"""

KV_VERSION = "3.2.3"
CS_VERSION = "3.2.4"
