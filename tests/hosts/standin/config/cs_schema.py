"""riak-cs.conf: the keys of Riak CS 3.2.4."""

from tests.hosts.standin.config.schema import table

SETTINGS = table("""
*nodename | string | riak-cs@127.0.0.1
*distributed_cookie | string | riak
*listener | ip | 127.0.0.1:8080
*riak_host | ip/fqdn | 127.0.0.1:8087
admin.listener | ip |
*admin.key | string | admin-key
admin.secret | string |
*anonymous_user_creation | flag | off
*stanchion_hosting_mode | enum auto riak_cs_with_stanchion riak_cs_only stanchion_only | auto
tussle_voss_riak_host | fqdn/atom auto | auto
stanchion_port | integer | 8085
stanchion_subnet | string | 127.0.0.1
stanchion_netmask | string | 255.255.255.255
stanchion.ssl | flag | off
stanchion.ssl.certfile | file |
stanchion.ssl.keyfile | file |
ssl.certfile | file |
ssl.keyfile | file |
auth_v4 | flag | on
*s3_root_host | string | s3.amazonaws.com
host_id | string |
server.name | string | Riak CS
pool.request.size | integer | 128
pool.request.overflow | integer | 0
pool.list.size | integer | 5
pool.list.overflow | integer | 0
riak.connect_timeout | duration | 5s
max_buckets_per_user | integer/atom unlimited | 100
max_key_length | integer/atom unlimited | 1024
trust_x_forwarded_for | flag | off
fast_user_get | flag | off
gc.interval | duration/atom infinity | 15m
gc.leeway_period | duration | 24h
gc.retry_interval | duration | 6h
gc.max_workers | integer | 2
gc.batch_size | integer | 1000
active_delete_threshold | bytesize | 0
max_scheduled_delete_manifests | integer/atom unlimited | 50
stats.access.archive_period | duration | 1h
stats.access.flush_factor | integer | 1
stats.access.flush_size | integer | 1000000
stats.storage.schedule.$n | string |
stats.storage.archive_period | duration | 1d
stats.usage_request_limit | integer | 744
stats.prometheus | flag | off
proxy_get | flag | off
proxy_get.$n | string |
log.access | flag | on
log.access.dir | directory | $(platform_log_dir)
*cs_version | integer | 30203
rewrite_module | string | riak_cs_s3_rewrite
auth_module | string | riak_cs_s3_auth
supercluster.member.$id | ip |
supercluster.weight_refresh_interval | duration | 15m
copy_object.default_buckets_per_user | integer |
*platform_bin_dir | directory | /usr/lib/riak-cs/bin
*platform_data_dir | directory | /var/lib/riak-cs
*platform_etc_dir | directory | /etc/riak-cs
*platform_lib_dir | directory | /usr/lib/riak-cs/lib
*platform_log_dir | directory | /var/log/riak-cs
*logger.level | enum debug info notice warning error critical alert emergency none | info
*logger.file | file | $(platform_log_dir)/console.log
logger.max_files | integer | 10
logger.max_file_size | bytesize | 1MB
*erlang.async_threads | integer | 64
*erlang.max_ports | integer | 65536
erlang.distribution_buffer_size | string | 32MB
erlang.distribution.port_range.minimum | integer |
erlang.distribution.port_range.maximum | integer |
erlang.distribution.interface | string |
erlang.K | flag | on
erlang.process_limit | integer | 256000
dtrace | flag | off
dcache.$name | string |
""")
