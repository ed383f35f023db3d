"""Usage texts of the commands, as they print them."""

ADMIN_USAGE = """\
Usage: riak-admin { cluster | join | leave | backup | restore | test |\x20
                    reip | reip_manual | erl-reload | wait-for-service |\x20
                    ringready | transfers | force-remove | down |
                    cluster-info | member-status | ring-status | vnode-status |
                    aae-status | diag | stat | status | transfer-limit | reformat-indexes |
                    top [-interval N] [-sort reductions|memory|msg_q] [-lines N] |
                    downgrade-objects | security | bucket-type | repair-2i |
                    services | ensemble-status | handoff | set |
                    show | describe }
"""

CLUSTER_USAGE = """\
Usage: riak-admin cluster <command>

The following commands stage changes to cluster membership. These commands
do not take effect immediately. After staging a set of changes, the staged
plan must be committed to take effect:

   join <node>                     Join node to the cluster containing <node>
   leave                           Have this node leave the cluster and shutdown
   leave <node>                    Have <node> leave the cluster and shutdown

   force-remove <node>             Remove <node> from the cluster without
                                   first handing off data. Designed for
                                   crashed, unrecoverable nodes

   replace <node1> <node2>         Have <node1> transfer all data to <node2>,
                                   and then leave the cluster and shutdown

   force-replace <node1> <node2>   Reassign all partitions owned by <node1> to
                                   <node2> without first handing off data, and
                                   remove <node1> from the cluster.
   \x20
   location <location_name>        Assign a location to the current node

Staging commands:
   plan                            Display the staged changes to the cluster
   commit                          Commit the staged changes
   clear                           Clear the staged changes

Status and information commands:
   status                          Display a concise summary of node membership
                                   availability and ring ownership.

   partitions [--node=<node>]      Print primary, secondary and stopped
                                   partition indices and ids for the current
                                   node, or for the specified node.

   partition-count [--node=<node>] Print the cluster-wide number of
                                   partitions or the number of partitions
                                   on the specified node.

   partition id=<id>               Convert the given partition id to the
                                   matching index.

   partition index=<index>         Convert the given partition index to
                                   the matching id.


"""

HANDOFF_USAGE = """\
Usage: riak-admin handoff <sub-command>

  Display handoff-related status and settings.

  Sub-commands:
    enable     Enable handoffs for the specified node(s)
    disable    Disable handoffs for the specified node(s)
    summary    Show cluster-wide handoff summary
    details    Show details of all active transfers (per-node or cluster wide)
    config     Show all configuration for handoff subsystem

  Use --help after a sub-command for more details.

{error,1}
"""

STAT_USAGE = """\
Usage: riak-admin stat <command>

The following commands display, enable/disable and reset statistics.
A statistics entry is given either as a 'dotted' exometer name -
Identifiers separated by periods, '.', e.g. riak.riak_kv.node.gets,
or as a 'legacy' name (same as in riak admin status) - e.g. node_gets.
When a legacy name is listed, the corresponding exometer name is shown as well.

Two kinds of wildcard are suppored:
*  - matches anything up to the next separator ('.' or '_') or end of name;
** - matches anything including separators.
Quoting is permitted.

Use `riak-admin stat help <command>` for more details.

   show <entry>                Show the value(s) of a specific entry or entries
   enable <entry>              Enable entry or entries
   disable <entry>             Disable entry or entries
   reset <entry>               Reset entry or entries
   info [ -name | -type |      Display information about the entry or entries.
        | -module              The attributes are described in the Exometer docs
        | -value | -cache
        | -status | -timestamp
        | -options | -ref
        | -datapoints ] <entry>

"""

LOCATION_USAGE = """\
Usage: riak-admin cluster location <new_location> [--node node]

  Set the node location parameter

Options
  -n <node>, --node <node>
      Set node location for the specified node.

{error,1}
"""

TRANSFER_LIMIT = """\
transfer_limit:
  Number of concurrent node-to-node transfers allowed.
  It is generally safe to raise this number to increase concurrency.  A
  common value to use would be 8.  However, it is necessary to monitor for
  handoff timeouts.  If handoff timeouts occur, reduce the
  handoff_batch_threshold_count.  If timeouts continue to occur, even with a
  low value for the handoff_batch_threshold_count (e.g. 200), then raise the
  handoff_timeout.  Further, if using the leveled backend in Riak KV
  investigate raising the the backend_pause.

ok
"""

RING_SIZE = """\
ring_size:
  Number of partitions in the cluster (only valid when first
  creating the cluster). Must be a power of 2, minimum 8 and maximum
  1024.

ok
"""

REPL_STATUS = """\
realtime_enabled: []
realtime_started: []
fullsync_enabled: []
fullsync_running: []
proxy_get_enabled: []
server_bytes_sent: 0
server_bytes_recv: 0
server_connects: 0
server_connect_errors: 0
server_fullsyncs: 0
client_bytes_sent: 0
client_bytes_recv: 0
client_connects: 0
client_connect_errors: 0
client_redirect: 0
objects_dropped_no_clients: 0
objects_dropped_no_leader: 0
objects_sent: 0
objects_forwarded: 0
elections_elected: 0
elections_leader_changed: 0
client_rx_kbps: [0,0,0,0,0,0,0,0]
client_tx_kbps: [0,0,0,0,0,0,0,0]
server_rx_kbps: [0,0,0,0,0,0,0,0]
server_tx_kbps: [0,0,0,0,0,0,0,0]
rt_source_errors: 0
rt_sink_errors: 0
rt_dirty: 0
aae_segments_requested: 0
keys_hashes_returned: 0
leader: undefined
local_leader_message_queue_len: 0
local_leader_heap_size: 233
client_stats: []
sinks: []
sources: []
fullsync_coordinator: []
fullsync_coordinator_srv: []
cluster_name: <<"undefined">>
cluster_leader: 'riak@127.0.0.1'
connected_clusters: []
realtime_queue_stats: [{percent_bytes_used,0.001},
                       {bytes,1112},
                       {max_bytes,104857600},
                       {consumers,[]},
                       {overload_drops,0}]
proxy_get: [{requester,[]},{provider,[]}]
realtime_send_kbps: 0
realtime_recv_kbps: 0
fullsync_send_kbps: 0
fullsync_recv_kbps: 0
ok
"""
