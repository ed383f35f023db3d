"""Usage texts of `riak-cs` and its subcommands, as they print them."""

ADMIN_USAGE = """\
Usage: riak-cs-admin { access | audit-bucket-ownership | cleanup-orphan-multipart |
                       cluster-info | create-admin-user | gc | stanchion | status |
                       storage | supps | test | version }
"""

GC_USAGE = """\
Usage: riak-cs-admin gc { batch [<leeway_seconds>|--help] | status | pause | resume | cancel |
                          set-interval <interval_seconds> | set-leeway <leeway_seconds> |
                          earliest-keys [bag names]}
"""

GC_BATCH_USAGE = """\
Usage: riak-cs-admin gc [-l <leeway>] [-s <start>] [-e <end>]
                        [-c <max-workers>] [-p <page-size>]

  -l, --leeway       Leeway seconds
  -s, --start        Start time (iso8601 format, like 20130320T094500Z)
  -e, --end          End time (iso8601 format, like 20130420T094500Z)
  -c, --max-workers  Number of concurrent workers
  -p, --page-size    Unit size of each GC bucket pagination in a batch

"""

STORAGE_USAGE = """\
Usage: riak-cs-admin storage  { batch | status | pause | resume | cancel }
"""

ACCESS_USAGE = """\
Usage: riak-cs-admin access  { flush }
"""

STANCHION_USAGE = """\
Usage: riak-cs-admin stanchion  show
"""

SUPERCLUSTER_USAGE = """\
Usage: riak-cs-supercluster { list-members | weight | weight-manifest | weight-block | refresh }
"""
