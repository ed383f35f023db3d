"""Usage texts of `riak-cs` and its subcommands, as they print them."""

RELEASE_USAGE = """\
Usage: riak-cs [COMMAND] [ARGS]

Commands:

  foreground              Start release with output to stdout
  remote_console          Connect remote shell to running node
  rpc [Mod [Fun [Args]]]] Run apply(Mod, Fun, Args) on running node
  eval [Exprs]            Run expressions on running node
  stop                    Stop the running node
  restart                 Restart the applications but not the VM
  reboot                  Reboot the entire VM
  pid                     Print the PID of the OS process
  ping                    Print pong if the node is alive
  console                 Start the release with an interactive shell
  console_clean           Start an interactive shell without the release's applications
  console_boot [File]     Start an interactive shell for boot script [File]
  daemon                  Start release in the background with run_erl (named pipes)
  daemon_boot [File]      Start boot script [File] in the background with run_erl (named pipes)
  daemon_attach           Connect to node started as daemon with to_erl (named pipes)
  upgrade [Version]       Upgrade the running release to a new version
  downgrade [Version]     Downgrade the running release to a new version
  install [Version]       Install a release
  uninstall [Version]     Uninstall a release
  unpack [Version]        Unpack a release tarball
  versions                Print versions of the release available
  escript                 Run an escript in the same environment as the release
  status                  Verify node is running and then run status hook scripts
  admin|supercluster|debug|chkconfig
"""

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
